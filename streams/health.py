"""Health over HTTP: whether the worker makes progress, not merely whether its process lives.

`/healthz` fails when a part that has work made no progress for too long, so that something restarts
the worker. `/readyz` fails until every stage has its partitions and their state. `/metrics` is the
Prometheus page.
"""

import dataclasses
import http.server
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from streams.errors import ServerError

_log = logging.getLogger(__name__)

_REQUEST_TIMEOUT_S = 10.0  # a client that sends nothing must not keep a thread


def _always() -> bool:
    return True


@dataclasses.dataclass(slots=True)
class _Part:
    has_work: Callable[[], bool]
    progress_s: float
    work_s: float | None  # since when it has been seen to have work; None while it has none


class Health:
    """What the parts of a worker say of themselves; safe to use from any thread.

    Parameters
    ----------
    stall_s : float
        Longest a part with work may go without progress. Seconds.
    needs : sequence of str
        Parts that must be ready before the worker is; more may join by `ready` and `not_ready`.
    clock : callable
        Monotonic seconds.
    """

    def __init__(
        self,
        stall_s: float = 60.0,
        needs: Sequence[str] = (),
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stall_s = stall_s
        self._clock = clock
        self._lock = threading.Lock()
        self._parts: dict[str, _Part] = {}
        self._waiting: dict[str, str | None] = dict.fromkeys(needs, "starting")

    def watch(self, name: str, has_work: Callable[[], bool] = _always) -> None:
        """Expect progress of a part from now on.

        Parameters
        ----------
        name : str
            The part.
        has_work : callable
            Whether it has work at the moment; without work it need not progress. Called from the
            thread that serves health, so it must be quick and must not depend on the part being
            alive. The default, for loops that come round also when idle, is to expect progress
            always.
        """
        now = self._clock()
        with self._lock:
            self._parts[name] = _Part(has_work, now, None)

    def unwatch(self, name: str) -> None:
        """Expect nothing of a part any more."""
        with self._lock:
            self._parts.pop(name, None)

    def beat(self, name: str) -> None:
        """A part has made progress. The first beat of an unknown part also starts to watch it."""
        part = self._parts.get(name)
        if part is None:
            self.watch(name)
        else:
            part.progress_s = self._clock()

    def ready(self, name: str) -> None:
        """A part has all it needs."""
        with self._lock:
            self._waiting[name] = None

    def not_ready(self, name: str, why: str = "starting") -> None:
        """A part lacks something; `why` is shown."""
        with self._lock:
            self._waiting[name] = why

    def stalled(self) -> dict[str, float]:
        """Parts that have work and no progress for too long, with the seconds since their last progress."""
        return {name: silence for name, (silence, stuck) in self._silences().items() if stuck}

    def _silences(self) -> dict[str, tuple[float, bool]]:
        now = self._clock()
        found = {}
        with self._lock:
            for name, part in self._parts.items():
                if not part.has_work():
                    part.work_s = None
                elif part.work_s is None:
                    # After an idle hour the first look at new work must not find an hour without progress.
                    part.work_s = part.progress_s if part.has_work is _always else now
                silence = now - part.progress_s
                stuck = part.work_s is not None and now - max(part.progress_s, part.work_s) > self._stall_s
                found[name] = (silence, stuck)
        return found

    def waiting(self) -> dict[str, str]:
        """Parts that are not ready, with the reason."""
        with self._lock:
            return {name: why for name, why in self._waiting.items() if why is not None}

    def alive_report(self) -> tuple[bool, dict[str, object]]:
        """Whether the worker makes progress, and what `/healthz` shows."""
        silences = self._silences()
        stalled = sorted(name for name, (_, stuck) in silences.items() if stuck)
        report: dict[str, object] = {
            "status": "stalled" if stalled else "ok",
            "stalled": stalled,
            "stall_s": self._stall_s,
            "seconds_since_progress": {name: round(s, 3) for name, (s, _) in sorted(silences.items())},
        }
        return not stalled, report

    def ready_report(self) -> tuple[bool, dict[str, object]]:
        """Whether the worker does its work, and what `/readyz` shows."""
        waiting = self.waiting()
        with self._lock:
            nothing_known = not self._waiting
        if nothing_known:
            waiting = {"worker": "starting"}
        return not waiting, {"status": "waiting" if waiting else "ready", "waiting": waiting}


class Server:
    """Serves `/metrics`, `/healthz` and `/readyz` from a thread of its own.

    Parameters
    ----------
    registry : CollectorRegistry
        What `/metrics` shows.
    health : Health
        What the other two show.
    host : str
        Address to listen on.
    port : int
        Port to listen on; 0 takes any free one, see `port`.

    Raises
    ------
    ServerError
        The address cannot be listened on.
    """

    def __init__(
        self, registry: CollectorRegistry, health: Health, *, host: str = "127.0.0.1", port: int = 9464
    ) -> None:
        handler = type("_BoundHandler", (_Handler,), {"registry": registry, "health": health})
        try:
            # Bound by hand, because the family depends on the address.
            family, _, _, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            server_class = type("_BoundServer", (_HTTPServer,), {"address_family": family})
            self._server = server_class(address, handler)
        except OSError as error:
            raise ServerError(
                f"cannot serve metrics and health on {host}:{port}: {error.strerror or error}. "
                "Set metrics.host and metrics.port; port 0 takes any free one"
            ) from None
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="metrics", daemon=True
        )
        self.host = host
        self.port: int = self._server.server_address[1]
        """Port that is listened on."""

    @property
    def url(self) -> str:
        """Address of the server for people on this machine, without a path."""
        everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - recognised, not chosen
        host = everywhere.get(self.host, self.host)
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{self.port}"

    def start(self) -> "Server":
        """Begin to answer."""
        self._thread.start()
        _log.info("metrics and health at %s", self.url)
        return self

    def stop(self) -> None:
        """Stop answering and give the port back; safe to call twice."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> "Server":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class _HTTPServer(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # an idle keep-alive connection must not hold up the end of the worker

    def server_bind(self) -> None:
        # HTTPServer.server_bind would ask the name service for the host's full name, which can take seconds.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        _log.debug("request from %s failed", client_address, exc_info=True)


class _Handler(http.server.BaseHTTPRequestHandler):
    registry: CollectorRegistry
    health: Health
    timeout = _REQUEST_TIMEOUT_S
    protocol_version = "HTTP/1.1"
    server_version = "extraction-detector"
    sys_version = ""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            self._answer(HTTPStatus.OK, content_type, encode(self.registry))
        elif path == "/healthz":
            self._report(*self.health.alive_report())
        elif path == "/readyz":
            self._report(*self.health.ready_report())
        elif path == "/":
            self._answer(HTTPStatus.OK, "text/plain; charset=utf-8", b"/metrics\n/healthz\n/readyz\n")
        else:
            self._answer(
                HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", b"try /metrics, /healthz, /readyz\n"
            )

    do_HEAD = do_GET  # noqa: N815 - the base class looks for this name

    def _report(self, good: bool, report: dict[str, object]) -> None:
        status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
        self._answer(status, "application/json", json.dumps(report).encode() + b"\n")

    def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - name of the base class
        _log.debug("%s %s", self.address_string(), format % args)
