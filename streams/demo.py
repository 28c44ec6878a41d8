"""The demonstration: a broker, a worker and traffic with hidden extraction in it, in one process."""

import dataclasses
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson
from confluent_kafka import Consumer, KafkaError, Producer

from detectors.alerts import Alert
from streams import worker
from streams.codecs import decode_alert
from streams.health import Server
from streams.settings import Settings
from streams.simulate import Label

_log = logging.getLogger(__name__)

_SETTLE_S = 6.0  # after the last event: order, detection and delivery of the last alerts


@dataclasses.dataclass(slots=True)
class Outcome:
    """What a demonstration showed."""

    sent: int = 0
    alerts: list[Alert] = dataclasses.field(default_factory=list)


class Demo:
    """Sends traffic, runs the worker, and hands over alerts as they come.

    Parameters
    ----------
    settings : Settings
        For the cluster to use.
    key : bytes
        Keys hashes.
    traffic : iterable of (float, dict)
        Request events in time order, each with the seconds to wait before it.
    on_alert : callable
        Called with the seconds since start and each new alert, from another thread.
    on_serving : callable
        Called with the metrics server once it listens.
    """

    def __init__(
        self,
        settings: Settings,
        key: bytes,
        traffic: Iterable[tuple[float, Mapping[str, Any]]],
        *,
        on_alert: Callable[[float, Alert], None],
        on_serving: Callable[[Server], None],
    ) -> None:
        self._settings = settings
        self._key = key
        self._traffic = traffic
        self._on_alert = on_alert
        self._on_serving = on_serving
        self._stop = threading.Event()
        self._started = time.monotonic()
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """Run until everything is sent and settled, or Ctrl-C; leaves nothing running.

        Raises
        ------
        streams.worker.WorkerError
            The worker failed.
        """
        threads = [
            threading.Thread(target=self._send, name="traffic"),
            threading.Thread(target=self._listen, name="alerts"),
        ]
        for thread in threads:
            thread.start()
        try:
            worker.run(self._settings, worker.ROLES, self._key, on_serving=self._on_serving, stop=self._stop)
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()
        return self.outcome

    def _send(self) -> None:
        producer = Producer({**self._settings.kafka.client(), "linger.ms": 5})
        next_at = time.monotonic()
        for wait_s, event in self._traffic:
            if self._stop.is_set():
                break
            # No key: request buses are rarely keyed by account, and nothing here may depend on it.
            producer.produce(self._settings.topics.requests, orjson.dumps(event))
            producer.poll(0)
            self.outcome.sent += 1
            next_at += wait_s
            if (early_s := next_at - time.monotonic()) > 0.005:
                self._stop.wait(early_s)
        producer.flush(5)
        self._stop.wait(_SETTLE_S)
        self._stop.set()

    def _listen(self) -> None:
        consumer = Consumer(
            {
                **self._settings.kafka.client(),
                "group.id": f"{self._settings.app_id}-demo",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
            }
        )
        consumer.subscribe([self._settings.topics.alerts])
        seen: set[str] = set()
        try:
            while not self._stop.is_set():
                message = consumer.poll(0.2)
                if message is None:
                    continue
                error = message.error()
                if error is not None:
                    if error.code() != KafkaError._PARTITION_EOF:
                        _log.debug("reading alerts: %s", error.str())
                    continue
                alert = decode_alert(message.value() or b"")
                if alert.alert_id not in seen:
                    seen.add(alert.alert_id)
                    self.outcome.alerts.append(alert)
                    self._on_alert(time.monotonic() - self._started, alert)
        finally:
            consumer.close()


def describe(at_s: float, alert: Alert) -> str:
    """One alert for a reader of the terminal."""
    strongest = alert.signals[0]
    return (
        f"{at_s:6.1f} s  {alert.severity.upper():<8} {alert.kind:<23} {alert.subject.id}  "
        f"after {alert.evidence.event_count} exchanges, score {alert.score:.5f}\n"
        f"           {strongest.explanation}"
    )


def summarise(outcome: Outcome, labels: Mapping[str, Label]) -> str:
    """What was found, against what was hidden."""
    alerted = {alert.subject.id for alert in outcome.alerts}
    hidden = {account: label for account, label in labels.items() if label.label == "extraction"}
    found = sorted(alerted & hidden.keys())
    wrong = sorted(alerted - hidden.keys())
    missed = sorted(hidden.keys() - alerted)
    lines = [
        f"{outcome.sent} events of {len(labels)} accounts, {len(hidden)} of them extracting.",
        f"Found {len(found)} of {len(hidden)} extraction accounts; flagged {len(wrong)} ordinary ones"
        + (f": {', '.join(f'{account} ({labels[account].kind})' for account in wrong)}" if wrong else "")
        + ".",
    ]
    if missed:
        kinds = Counter(hidden[account].kind for account in missed)
        listed = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))
        lines.append(f"Not found, by kind: {listed}.")
    return "\n".join(lines)
