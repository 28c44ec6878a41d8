"""A pipeline of its own on a shared broker: topics, worker processes, and what they left behind."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from detectors.alerts import Alert
from detectors.control import Register
from streams import offline, topics
from streams.codecs import decode_alert
from streams.envelope import seal, unseal
from streams.intake import Record
from streams.replay import replay
from streams.settings import Settings, load_settings
from streams.shard import decode_position
from streams.state import read_state

KEY = "integration tests, not a secret key"
SOURCE_PARTITIONS = 3


class Deployment:
    """Topics under names of their own, and the workers that were started on them."""

    def __init__(self, kafka, name: str, logs: Path, *, partitions: int = 4, **overrides: str) -> None:
        self.kafka = kafka
        self.logs = logs
        self.environment = {
            "EXTRACTION_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "EXTRACTION_APP_ID": name,
            "EXTRACTION_HASH_KEY": KEY,
            "EXTRACTION_TOPICS__PARTITIONS": str(partitions),
            "EXTRACTION_TOPICS__REPLICATION_FACTOR": "1",
            "EXTRACTION_SESSION_TIMEOUT_S": "3",
            "EXTRACTION_HEARTBEAT_S": "0.5",
            "EXTRACTION_STATE__FLUSH_MS": "300",
            "EXTRACTION_METRICS__PORT": "0",
            **{
                f"EXTRACTION_TOPICS__{role.upper()}": f"{name}.{role}"
                for role in (
                    "requests",
                    "observations",
                    "sightings",
                    "state",
                    "pools",
                    "alerts",
                    "control",
                    "deadletter",
                )
            },
            **overrides,
        }
        before = dict(os.environ)
        os.environ.update(self.environment)
        try:
            self.settings: Settings = load_settings(None)
        finally:
            os.environ.clear()
            os.environ.update(before)
        self.workers: list[subprocess.Popen] = []
        self.sent = 0

    def create_topics(self) -> None:
        self.kafka.create_topic(self.settings.topics.requests, SOURCE_PARTITIONS)
        report = topics.create(self.settings)
        assert not [str(problem) for problem in report.problems if problem.severity == "error"]

    # -- workers ---------------------------------------------------------------------------------

    def start(self, role: str = "all") -> subprocess.Popen:
        log = self.logs / f"worker-{len(self.workers)}.log"
        with log.open("wb") as output:
            worker = subprocess.Popen(
                [sys.executable, "-c", "from streams.cli import main; main()", "worker", "--role", role],
                env={**os.environ, **self.environment},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        worker.log = log
        self.workers.append(worker)
        return worker

    def kill(self, worker: subprocess.Popen) -> None:
        worker.send_signal(signal.SIGKILL)
        worker.wait(10)

    def stop(self, worker: subprocess.Popen) -> int:
        worker.send_signal(signal.SIGTERM)
        return worker.wait(40)

    def close(self) -> None:
        for worker in self.workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGCONT)
                worker.kill()
                worker.wait(10)

    def log_tails(self) -> str:
        return "\n".join(
            f"--- {worker.log.name}, exit {worker.poll()}\n{worker.log.read_text(errors='replace')[-3000:]}"
            for worker in self.workers
        )

    def command(self, *arguments: str) -> str:
        """What a command that must succeed prints."""
        done = subprocess.run(
            [sys.executable, "-c", "from streams.cli import main; main()", *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def metric(self, worker: subprocess.Popen, name: str, **labels: str) -> float:
        """Value of a metric on the worker's page; 0 while there is no page."""
        found = re.search(r"metrics and health at (http://\S+)", worker.log.read_text())
        if found is None:
            return 0.0
        with urllib.request.urlopen(f"{found[1]}/metrics", timeout=10) as page:
            families = text_string_to_metric_families(page.read().decode())
            return sum(
                sample.value
                for family in families
                for sample in family.samples
                if sample.name == name and labels.items() <= sample.labels.items()
            )

    # -- in and out ------------------------------------------------------------------------------

    def send(
        self,
        values: Iterable[bytes],
        *,
        rate: float | None = None,
        partition: Callable[[int], int] | None = None,
    ) -> None:
        """Produce records, spread over the source partitions without regard to accounts."""
        producer = Producer({**self.settings.kafka.client(), "linger.ms": 1})
        failures = []
        started = time.monotonic()
        for count, value in enumerate(values, 1):
            producer.produce(
                self.settings.topics.requests,
                value,
                partition=partition(self.sent) if partition else self.sent % SOURCE_PARTITIONS,
                on_delivery=lambda error, _: failures.append(error) if error else None,
            )
            self.sent += 1
            producer.poll(0)
            if rate and count / rate > time.monotonic() - started:
                time.sleep(max(0.0, count / rate - (time.monotonic() - started)))
        assert producer.flush(60) == 0
        assert not failures

    def read(self, topic: str) -> list[Message]:
        """Everything that is committed on a topic."""
        consumer = Consumer(
            {
                **self.settings.kafka.client(),
                "group.id": "test-reader",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
            }
        )
        found: list[Message] = []
        try:
            partitions = len(consumer.list_topics(topic, 10).topics[topic].partitions)
            consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
            ends, deadline = 0, time.monotonic() + 60
            while ends < partitions:
                assert time.monotonic() < deadline, f"{topic} cannot be read to its end"
                for message in consumer.consume(1000, 0.5):
                    if message.error() is None:
                        found.append(message)
                    elif message.error().code() == KafkaError._PARTITION_EOF:
                        ends += 1
        finally:
            consumer.close()
        return found

    def positions(self, role: str = "state") -> list[bytes | None]:
        return [self._state(partition, role)[0] for partition in range(self.settings.topics.partitions)]

    def _state(self, partition: int, role: str = "state"):
        return read_state(self.settings.kafka.client(), getattr(self.settings.topics, role), partition)

    def applied(self, role: str = "state") -> int:
        """Observations in the saved state, over all partitions."""
        return sum(
            decode_position(position).applied for position in self.positions(role) if position is not None
        )

    def await_applied(
        self,
        count: int,
        *,
        role: str = "state",
        within_s: float = 90.0,
        unless: Callable[[], bool] = lambda: False,
    ) -> None:
        """Wait until the saved state holds `count` observations."""
        deadline = time.monotonic() + within_s
        while (applied := self.applied(role)) < count:
            assert not unless(), f"worker ended early\n{self.log_tails()}"
            assert time.monotonic() < deadline, f"{applied} of {count} applied\n{self.log_tails()}"
            time.sleep(0.3)

    def alerts(self) -> list[Alert]:
        """Alerts on the topic, repeats dropped by id; equal ids must have equal content."""
        by_id: dict[str, Alert] = {}
        for message in self.read(self.settings.topics.alerts):
            alert = decode_alert(message.value())
            assert by_id.setdefault(alert.alert_id, alert) == alert, "an id came twice with different content"
        return list(by_id.values())

    def accounts(self, role: str = "state") -> dict[str, object]:
        """Saved state of every account, or of every group of them."""
        return {
            account_id: unseal(record)
            for partition in range(self.settings.topics.partitions)
            for account_id, record in self._state(partition, role)[1].items()
        }

    # -- what must come out ----------------------------------------------------------------------

    def oracle(
        self, decided: Register | None = None
    ) -> tuple[dict[str, Alert], dict[str, object], dict[str, object]]:
        """Alerts, and state of accounts and of groups, of one undisturbed pass over the source."""
        pipeline = offline.build(
            self.settings,
            KEY.encode(),
            source=self.settings.topics.requests,
            source_partitions=SOURCE_PARTITIONS,
            decided=decided,
        )
        records = sorted(
            (message.partition(), message.offset(), message.timestamp()[1], message.value())
            for message in self.read(self.settings.topics.requests)
        )
        found = {alert.alert_id: alert for alert in replay(pipeline, (Record(*record) for record in records))}
        states = {
            account_id: unseal(seal(0, pipeline.snapshot(account_id)))
            for account_id in pipeline.account_ids()
        }
        pools = {pool_id: unseal(seal(0, state)) for pool_id, state in pipeline.pool_snapshots().items()}
        return found, states, pools

    def assert_as_in_one_pass(self, *, expect_alerts: bool = True, decided: Register | None = None) -> None:
        """Nothing lost, nothing counted twice, every alert raised but what people decided against."""
        alerts, states, pools = self.oracle(decided)
        if expect_alerts:
            assert alerts, "the traffic raises no alert, so the test shows nothing"
        live = {alert.alert_id: alert for alert in self.alerts()}
        assert live == alerts
        assert self.accounts() == states
        if self.settings.campaigns.links:
            assert self.accounts("pools") == pools
