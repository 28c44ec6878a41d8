"""Every metric, once: name, help, labels. Base units; labels bounded; never an account id.

A `Metrics` object has a registry of its own, so that two workers in one process, or two tests, do
not share counters. All values of all labels exist from the start, because a counter that appears
with its first event looks like no event to `rate()`.
"""

import platform
from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, disable_created_metrics
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

import detectors

STAGES = ("ingest", "detect", "pools")

KINDS = (
    "coverage_seeking",
    "high_entropy",
    "templated_harvest",
    "capability_elicitation",
    "benchmark_sweep",
    "parameter_probing",
    "coordinated_campaign",
    "account_succession",
)
SEVERITIES = ("low", "medium", "high", "critical")

DUPLICATE_REASONS = (
    "repeated_by_ingest",
    "applied_before_restart",
    "message_already_applied",
    "repeated_event",
)
DROP_REASONS = ("account_expired", "account_evicted", "state_unreadable", "state_too_large")
OTHER_REASONS = ("unreadable_batch", "buffer_overflow", "other")

SILENCED_REASONS = ("allow", "suppress")
CONTROL_KINDS = ("label", "allow", "suppress", "ban", "withdrawn", "refused")

CRASH_REASONS = ("fenced", "failure", "breaker_open", "delivery_failed", "state_unavailable")

# Upper bounds. Work on one batch or message takes tens of microseconds to tens of milliseconds; what
# lies above is a stall worth seeing.
_WORK_S = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
# The aim is a median below half a second; the upper end tells a restart from an outage.
_LATENCY_S = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 1800.0)
_FLUSH_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0)
_STATE_BYTES = (256, 512, 1024, 1536, 2048, 2560, 3072, 3584, 4096)


class _Skipped:
    """Finds the counter that a reason belongs to; an unlisted reason counts as "other"."""

    def __init__(self, metrics: "Metrics", extra: Sequence[str]) -> None:
        self._counters: dict[tuple[str, str], Counter] = {}
        for stage in STAGES:
            for reason in DUPLICATE_REASONS:
                self._counters[stage, reason] = metrics.duplicates.labels(stage=stage, reason=reason)
            for reason in DROP_REASONS:
                self._counters[stage, reason] = metrics.accounts_dropped.labels(reason=reason)
            for reason in (*OTHER_REASONS, *extra):
                self._counters[stage, reason] = metrics.other_skips.labels(stage=stage, reason=reason)
            self._counters[stage, "late_applied_out_of_order"] = metrics.late
            self._counters[stage, "lost_to_retention"] = metrics.lost_messages

    def labels(self, *, stage: str, reason: str) -> Counter:
        """Counter of this reason in this stage."""
        return self._counters.get((stage, reason)) or self._counters[stage, "other"]


class Metrics:
    """The metrics of one worker.

    Parameters
    ----------
    dead_letter_reasons : sequence of str
        Reasons for which a record may be refused; exported as 0 from the start.
    skip_reasons : sequence of str
        Reasons beyond those listed in this module, for instance of the engine.
    process : bool
        Also export memory, CPU time and garbage collection of this process.

    Attributes
    ----------
    registry : CollectorRegistry
        What `/metrics` shows.
    skipped : object with `labels(stage, reason)`
        The counter of whatever was counted instead of applied, found by its reason.
    """

    def __init__(
        self,
        *,
        dead_letter_reasons: Sequence[str] = (),
        skip_reasons: Sequence[str] = (),
        process: bool = True,
    ) -> None:
        # Each counter would bring a second series with the time of its creation, which nobody reads.
        disable_created_metrics()
        self.registry = registry = CollectorRegistry()

        # -- flow --------------------------------------------------------------------------------
        self.events_read = Counter(
            "extraction_events_read_total",
            "Records read from the request bus by ingest, including refused and repeated ones.",
            registry=registry,
        )
        self.observations_sent = Counter(
            "extraction_observations_sent_total",
            "Observations that ingest has handed to Kafka for detect.",
            registry=registry,
        )
        self.observations_applied = Counter(
            "extraction_observations_applied_total",
            "Observations that detect has taken into the state of an account.",
            registry=registry,
        )
        self.sightings_applied = Counter(
            "extraction_sightings_applied_total",
            "Observations that were taken into the state of a group of accounts, once for every link.",
            registry=registry,
        )
        self.dead_letters = Counter(
            "extraction_dead_letters_total",
            "Records refused by ingest and sent to the dead-letter topic, by reason.",
            ["reason"],
            registry=registry,
        )
        self.duplicates = Counter(
            "extraction_duplicates_total",
            "Observations and messages that came again, as after a restart, and were not applied again.",
            ["stage", "reason"],
            registry=registry,
        )
        self.late = Counter(
            "extraction_late_observations_total",
            "Observations that came later than ordering.lateness_ms allows; applied, but out of order.",
            registry=registry,
        )
        self.lost_messages = Counter(
            "extraction_lost_messages_total",
            "Messages of observations that Kafka's retention deleted before detect had read them.",
            registry=registry,
        )
        self.other_skips = Counter(
            "extraction_irregularities_total",
            "Other things that ought not to happen: messages of another version, the ordering buffer full.",
            ["stage", "reason"],
            registry=registry,
        )
        self.alerts = Counter(
            "extraction_alerts_total",
            "Alerts raised, by kind and severity.",
            ["kind", "severity"],
            registry=registry,
        )
        self.reference_accounts = Counter(
            "extraction_reference_accounts_total",
            "Accounts, and groups of them, compared with the reference after 64 exchanges.",
            ["stage"],
            registry=registry,
        )
        self.reference_unusual = Counter(
            "extraction_reference_unusual_accounts_total",
            "Of those, how many were as unusual as one ordinary account in ten ever is. More than a tenth of "
            "them for days, without an attack, means that the reference no longer fits: run fit.",
            ["stage"],
            registry=registry,
        )
        self.silenced = Counter(
            "extraction_alerts_silenced_total",
            "Alerts that were not raised because people had decided so. No quiet period follows, so one "
            "account may count many times.",
            ["reason"],
            registry=registry,
        )
        self.control_records = Counter(
            "extraction_control_records_total",
            "Records read from the control topic since this worker started. Refused ones cannot be read, "
            "have the wrong key or find no room; the log says which.",
            ["kind"],
            registry=registry,
        )

        # -- time --------------------------------------------------------------------------------
        self.ingest_seconds = Histogram(
            "extraction_ingest_batch_seconds",
            "Time ingest took to turn one batch of records into observations.",
            buckets=_WORK_S,
            registry=registry,
        )
        self.detect_seconds = Histogram(
            "extraction_detect_message_seconds",
            "Time detect took to apply one message of observations.",
            buckets=_WORK_S,
            registry=registry,
        )
        self.applied_latency = Histogram(
            "extraction_applied_latency_seconds",
            "Time from when the oldest record of a message was appended to the bus until detect had it.",
            buckets=_LATENCY_S,
            registry=registry,
        )
        self.alert_latency = Histogram(
            "extraction_alert_latency_seconds",
            "Time from when the record that caused an alert was appended to the bus until the broker had the "
            "alert.",
            buckets=_LATENCY_S,
            registry=registry,
        )
        self.last_record = Gauge(
            "extraction_last_record_timestamp_seconds",
            "When the newest record handled by the stage was appended to the bus, seconds since the epoch; 0 "
            "before the first. time() minus this is how far the stage is behind.",
            ["stage"],
            registry=registry,
        )

        # -- backlog -----------------------------------------------------------------------------
        self.lag = Gauge(
            "extraction_lag_messages",
            "Kafka messages that wait to be read, over all partitions this worker has.",
            ["stage"],
            registry=registry,
        )
        self.lag_max = Gauge(
            "extraction_lag_max_messages",
            "Kafka messages that wait to be read in the partition of this worker with most of them.",
            ["stage"],
            registry=registry,
        )
        self.assigned = Gauge(
            "extraction_assigned_partitions",
            "Kafka partitions this worker has; 0 on a worker means that it has nothing to do.",
            ["stage"],
            registry=registry,
        )
        self.buffered_rows = Gauge(
            "extraction_ordering_buffered_observations",
            "Observations that wait for their turn in event-time order.",
            registry=registry,
        )
        self.buffered_sightings = Gauge(
            "extraction_ordering_buffered_sightings",
            "Observations of groups that wait for their turn in event-time order.",
            registry=registry,
        )

        # -- state -------------------------------------------------------------------------------
        self.accounts = Gauge(
            "extraction_accounts",
            "Accounts this worker has state of.",
            registry=registry,
        )
        self.pools = Gauge(
            "extraction_pools",
            "Groups of accounts that share a link this worker has state of, those of one account among them.",
            registry=registry,
        )
        self.accounts_dropped = Counter(
            "extraction_accounts_dropped_total",
            "Accounts whose state was dropped: long silent, evicted to stay within bounds, or damaged.",
            ["reason"],
            registry=registry,
        )
        self.state_bytes = Histogram(
            "extraction_state_record_bytes",
            "Size of the saved state of one account, each time it is saved.",
            buckets=_STATE_BYTES,
            registry=registry,
        )
        self.flush_seconds = Histogram(
            "extraction_state_flush_seconds",
            "Time to save what changed in one partition, alerts delivered first.",
            buckets=_FLUSH_S,
            registry=registry,
        )
        self.flush_records = Counter(
            "extraction_state_records_total",
            "Account records written to the state topic.",
            registry=registry,
        )

        # -- life --------------------------------------------------------------------------------
        self.unready = Gauge(
            "extraction_unready_parts",
            "Parts of this worker that wait for partitions or state; more than 0 while /readyz answers 503.",
            registry=registry,
        )
        self.stalled = Gauge(
            "extraction_stalled_parts",
            "Parts of this worker that have work and no progress; more than 0 while /healthz answers 503.",
            registry=registry,
        )
        self.crashes = Counter(
            "extraction_crashes_total",
            "Reasons for which this worker is ending by itself; fenced means that another worker took over.",
            ["reason"],
            registry=registry,
        )
        self.build = Info("extraction_build", "Version of the worker and of its Python.", registry=registry)
        self.build.info({"version": detectors.__version__, "python": platform.python_version()})

        for stage in STAGES:
            for gauge in (self.last_record, self.lag, self.lag_max, self.assigned):
                gauge.labels(stage=stage)
        for kind in KINDS:
            for severity in SEVERITIES:
                self.alerts.labels(kind=kind, severity=severity)
        self.skipped = _Skipped(self, skip_reasons)
        for reason in dead_letter_reasons:
            self.dead_letters.labels(reason=reason)
        for stage in STAGES[1:]:
            self.reference_accounts.labels(stage=stage)
            self.reference_unusual.labels(stage=stage)
        for reason in SILENCED_REASONS:
            self.silenced.labels(reason=reason)
        for kind in CONTROL_KINDS:
            self.control_records.labels(kind=kind)
        for reason in CRASH_REASONS:
            self.crashes.labels(reason=reason)
        if process:
            ProcessCollector(registry=registry)
            GCCollector(registry=registry)

    def set_lag(self, stage: str, lags: Iterable[int]) -> None:
        """Report how many messages wait in each partition the stage has."""
        waiting = list(lags)
        self.lag.labels(stage=stage).set(sum(waiting))
        self.lag_max.labels(stage=stage).set(max(waiting, default=0))
