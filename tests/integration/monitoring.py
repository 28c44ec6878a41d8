"""Real Prometheus and Alertmanager on the configuration in `deploy/`, and a webhook that notes who was told.

What differs from production is in `overlay_*`: addresses, and waiting times of seconds instead of minutes.
"""

import dataclasses
import http
import http.server
import json
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.tools import DEPLOY, tool
from tests.kafka.broker import free_ports, wait_until


@dataclasses.dataclass(frozen=True)
class Notice:
    """One alert as a receiver was told of it."""

    receiver: str
    status: str
    labels: dict[str, str]
    annotations: dict[str, str]

    @property
    def name(self) -> str:
        return self.labels["alertname"]


def overlay_rules(rules: dict[str, Any]) -> dict[str, Any]:
    """The same rules, but what must last for minutes need last for two seconds only."""
    for group in rules["groups"]:
        for rule in group["rules"]:
            if "for" in rule:
                rule["for"] = "2s"
    return rules


def overlay_prometheus(config: dict[str, Any], rules: Path, target: str, alertmanager: str) -> dict[str, Any]:
    """The same jobs, every second, at these addresses."""
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(rules)]
    config["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [alertmanager]}]}]
    (job,) = config["scrape_configs"]
    del job["dns_sd_configs"]
    job["static_configs"] = [{"targets": [target]}]
    return config


def overlay_alertmanager(config: dict[str, Any], webhook: str) -> dict[str, Any]:
    """The same routes, without waiting, to one webhook with a path for every receiver."""

    def hasten(route: dict[str, Any]) -> None:
        route |= {"group_wait": "1s", "group_interval": "1s"}
        for inner in route.get("routes", ()):
            hasten(inner)

    hasten(config["route"])
    for receiver in config["receivers"]:
        for hook in receiver["webhook_configs"]:
            hook["url"] = f"{webhook}/{receiver['name']}"
    return config


class Webhook:
    """An HTTP server that notes every alert it is told of."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []
        notices = self.notices

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                for alert in body["alerts"]:
                    told = Notice(
                        self.path.strip("/"), alert["status"], alert["labels"], alert["annotations"]
                    )
                    notices.append(told)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Monitoring:
    """Prometheus that scrapes one worker, Alertmanager behind it, and the webhook behind that."""

    def __init__(self, directory: Path, target: str) -> None:
        self._directory = directory
        self._processes: list[subprocess.Popen] = []
        programs = tool("prometheus"), tool("prometheus-alertmanager", "alertmanager")
        self.webhook = Webhook()
        prometheus, alertmanager = (f"127.0.0.1:{port}" for port in free_ports(2))
        self._url = f"http://{prometheus}"
        rules = self._write("rules.yml", overlay_rules(_read("prometheus/rules.yml")))
        config = self._write(
            "prometheus.yml",
            overlay_prometheus(_read("prometheus/prometheus.yml"), rules, target, alertmanager),
        )
        routes = self._write(
            "alertmanager.yml", overlay_alertmanager(_read("alertmanager/alertmanager.yml"), self.webhook.url)
        )
        self._start(
            programs[1], f"--config.file={routes}", f"--storage.path={directory / 'alertmanager'}",
            f"--web.listen-address={alertmanager}", "--cluster.listen-address=",
        )  # fmt: skip
        self._start(
            programs[0], f"--config.file={config}", f"--storage.tsdb.path={directory / 'prometheus'}",
            f"--web.listen-address={prometheus}",
        )  # fmt: skip

    def _write(self, name: str, content: dict[str, Any]) -> Path:
        path = self._directory / name
        path.write_text(yaml.safe_dump(content))
        return path

    def _start(self, *command: str) -> None:
        with (self._directory / f"{Path(command[0]).name}.log").open("wb") as log:
            self._processes.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))

    def query(self, expression: str) -> dict[str, float]:
        """Result of an instant query by alert name, "" where there is none; empty while nobody answers."""
        url = f"{self._url}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        try:
            with urllib.request.urlopen(url, timeout=10) as page:
                found = json.load(page)["data"]["result"]
        except urllib.error.HTTPError as error:
            if error.code == http.HTTPStatus.SERVICE_UNAVAILABLE:  # starting
                return {}
            raise AssertionError(f"{expression}: {error.read().decode()}") from None
        except OSError:
            return {}
        return {one["metric"].get("alertname", ""): float(one["value"][1]) for one in found}

    def await_notice(
        self, receiver: str, name: str, status: str = "firing", within_s: float = 60.0
    ) -> Notice:
        """Wait until `receiver` was told of the alert `name`."""

        def matching() -> list[Notice]:
            return [
                n for n in self.webhook.notices if (n.receiver, n.name, n.status) == (receiver, name, status)
            ]

        try:
            wait_until(matching, f"{receiver} is told that {name} is {status}", within_s)
        except TimeoutError as error:
            raise AssertionError(f"{error}; told: {self.webhook.notices}\n{self.logs()}") from None
        return matching()[0]

    def logs(self) -> str:
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}"
            for path in self._directory.glob("*.log")
        )

    def close(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
        self.webhook.close()


def _read(name: str) -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / name).read_text())
