"""The Grafana dashboard: one row per question that the person on call asks, in the order of asking.

`python -m deploy` writes `deploy/grafana/extraction-detector.json`. A panel is one line of `ROWS`; where it
lies follows from its place there.
"""

import dataclasses

from grafana_foundation_sdk.builders import dashboard as dashboards
from grafana_foundation_sdk.builders import prometheus, stat, timeseries
from grafana_foundation_sdk.builders.common import ReduceDataOptions, VizLegendOptions
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    GridPos,
    Threshold,
    ThresholdsMode,
    VariableHide,
    VariableRefresh,
)

UID = "extraction-detector"
WIDTH = 24  # of Grafana's grid
_SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
_JOB = 'job=~"$job"'


@dataclasses.dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes
    ----------
    title : str
        What it shows.
    queries : dict
        PromQL, with `$JOB` for the selector of the job, to what a line is called.
    unit : str
        Grafana's id of the unit.
    about : str
        How to read it.
    limit : float or None
        Value from which it is drawn red.
    number : bool
        Whether only the last value counts.
    width : int
        Columns of 24.
    """

    title: str
    queries: dict[str, str]
    unit: str = "short"
    about: str = ""
    limit: float | None = None
    number: bool = False
    width: int = 8


def _number(
    title: str, query: str, unit: str = "short", about: str = "", limit: float | None = None
) -> Panel:
    return Panel(title, {query: ""}, unit, about, limit, number=True, width=4)


def _quantile(share: float, metric: str) -> str:
    return f"histogram_quantile({share}, sum by (le) (rate({metric}_bucket{{$JOB}}[$__rate_interval])))"


def _quantiles(metric: str) -> dict[str, str]:
    return {
        _quantile(share, metric): name for share, name in ((0.5, "median"), (0.95, "95 %"), (0.99, "99 %"))
    }


_ALERTS = "extraction_alerts_total"
_CAMPAIGN = 'kind=~"coordinated_campaign|account_succession"'

ROWS: dict[str, list[Panel]] = {
    "Now": [
        _number(
            "High and critical alerts, 24 h",
            'sum(increase(extraction_alerts_total{$JOB, severity=~"high|critical"}[24h]))',
            about="An attack. Who and why is on the alerts topic.",
            limit=1,
        ),
        _number(
            "Campaign alerts, 24 h",
            f"sum(increase(extraction_alerts_total{{$JOB, {_CAMPAIGN}}}[24h]))",
            about="Accounts that act as one.",
            limit=1,
        ),
        _number("Workers that answer", "sum(up{$JOB})", about="0: nothing is detected."),
        _number(
            "Parts stalled or not ready",
            "sum(extraction_stalled_parts{$JOB}) + sum(extraction_unready_parts{$JOB})",
            about="/healthz and /readyz of the workers name them.",
            limit=1,
        ),
        _number(
            "Longest backlog",
            "max(job_instance_stage:extraction_backlog_seconds:rate5m{$JOB})",
            "s",
            "Work that waits, in seconds at the present speed.",
            600,
        ),
        _number(
            "Late within 6 h",
            "max(job:extraction_applied_late:ratio_rate6h{$JOB})",
            "percentunit",
            "Share of messages applied later than 5 s; the objective is below 1 %.",
            0.01,
        ),
    ],
    "Attack": [
        Panel(
            "Alerts by kind",
            {"sum by (kind) (increase(extraction_alerts_total{$JOB}[1h])) > 0": "{{kind}}"},
            about="In the hour before.",
        ),
        Panel(
            "Alerts by severity",
            {"sum by (severity) (increase(extraction_alerts_total{$JOB}[1h]))": "{{severity}}"},
            about="In the hour before. High and critical ones page.",
        ),
        Panel(
            "Alerts not raised because people decided so",
            {"sum by (reason) (increase(extraction_alerts_silenced_total{$JOB}[1h]))": "{{reason}}"},
            about="One account may count many times. See docs/control.md.",
        ),
        Panel(
            "From request to alert",
            _quantiles("extraction_alert_latency_seconds"),
            "s",
            "From when the record was on the bus until the broker had the alert.",
        ),
        Panel(
            "Campaign alerts",
            {f"sum by (severity) (increase({_ALERTS}{{$JOB, {_CAMPAIGN}}}[1h]))": "{{severity}}"},
        ),
        Panel(
            "Groups of accounts",
            {
                "sum(extraction_pools{$JOB})": "groups with state",
                "sum(rate(extraction_sightings_applied_total{$JOB}[$__rate_interval]))": "exchanges per s",
            },
            about="0 where campaigns.links is not set.",
        ),
    ],
    "Traffic": [
        Panel(
            "Through the stages",
            {
                "sum(rate(extraction_events_read_total{$JOB}[$__rate_interval]))": "read from the bus",
                "sum(rate(extraction_observations_sent_total{$JOB}[$__rate_interval]))": "sent to detect",
                "sum(rate(extraction_observations_applied_total{$JOB}[$__rate_interval]))": "applied",
            },
            "cps",
            "The three follow one another; a gap that stays is a backlog, or refused records.",
        ),
        Panel(
            "Refused records by reason",
            {"sum by (reason) (rate(extraction_dead_letters_total{$JOB}[5m])) > 0": "{{reason}}"},
            "cps",
            "They are in the dead-letter topic.",
        ),
        Panel(
            "Repeated, late, lost, irregular",
            {
                "sum(rate(extraction_duplicates_total{$JOB}[$__rate_interval]))": "repeated, applied once",
                "sum(rate(extraction_late_observations_total{$JOB}[$__rate_interval]))": "late",
                "sum(rate(extraction_lost_messages_total{$JOB}[$__rate_interval]))": "lost to retention",
                "sum(rate(extraction_irregularities_total{$JOB}[$__rate_interval]))": "irregular",
            },
            "cps",
            "Repeats after a restart are normal. Lost and irregular should be 0.",
        ),
    ],
    "Lag": [
        Panel(
            "Backlog in time",
            {
                "max by (stage) (job_instance_stage:extraction_backlog_seconds:rate5m{$JOB})": "{{stage}}",
            },
            "s",
            "Of the worker with most of it, at its present speed.",
            600,
        ),
        Panel(
            "Messages that wait",
            {
                "sum by (stage) (extraction_lag_messages{$JOB})": "{{stage}}",
                "max by (stage) (extraction_lag_max_messages{$JOB})": "{{stage}}, fullest partition",
            },
        ),
        Panel(
            "From append to applied",
            _quantiles("extraction_applied_latency_seconds"),
            "s",
            "The objective: 99 % within 5 s.",
            5,
        ),
        Panel(
            "Late share",
            {
                "max(job:extraction_applied_late:ratio_rate5m{$JOB})": "5 min",
                "max(job:extraction_applied_late:ratio_rate1h{$JOB})": "1 h",
                "max(job:extraction_applied_late:ratio_rate6h{$JOB})": "6 h",
            },
            "percentunit",
            "14.4 % pages, 6 % warns.",
            0.06,
        ),
        Panel(
            "Time since the newest record",
            {
                "time() - max by (stage) (extraction_last_record_timestamp_seconds{$JOB} > 0)": "{{stage}}",
            },
            "s",
            "Also grows while the bus is silent.",
        ),
        Panel(
            "Time per batch and message, 95 %",
            {
                _quantile(0.95, "extraction_ingest_batch_seconds"): "ingest, batch",
                _quantile(0.95, "extraction_detect_message_seconds"): "detect, message",
            },
            "s",
        ),
    ],
    "Reference": [
        Panel(
            "Unusual accounts, three days",
            {"job_stage:extraction_reference_unusual:ratio_increase3d{$JOB}": "{{stage}}"},
            "percentunit",
            "More than a tenth for days, without an attack: the reference no longer fits (docs/profiles.md).",
            0.1,
            width=12,
        ),
        Panel(
            "Accounts compared",
            {"sum by (stage) (increase(extraction_reference_accounts_total{$JOB}[1h]))": "{{stage}}"},
            about="In the hour before. The share needs at least 200 within three days.",
            width=12,
        ),
    ],
    "Health": [
        Panel(
            "Partitions by worker",
            {"extraction_assigned_partitions{$JOB} > 0": "{{instance}} {{stage}}"},
        ),
        Panel(
            "Cores used",
            {"rate(process_cpu_seconds_total{$JOB}[$__rate_interval])": "{{instance}}"},
            about="Each stage of a worker can use about one core.",
        ),
        Panel("Memory", {"process_resident_memory_bytes{$JOB}": "{{instance}}"}, "bytes"),
        Panel(
            "Starts and reasons to end",
            {
                "changes(process_start_time_seconds{$JOB}[1h])": "starts of {{instance}}",
                "sum by (reason) (increase(extraction_crashes_total{$JOB}[1h])) > 0": "{{reason}}",
            },
            about="In the hour before. A worker that ends is often gone before it is scraped; see its log.",
        ),
        Panel(
            "Saving state",
            _quantiles("extraction_state_flush_seconds"),
            "s",
            "Alerts delivered first.",
        ),
        Panel(
            "State records written",
            {"sum(rate(extraction_state_records_total{$JOB}[$__rate_interval]))": "records"},
            "cps",
        ),
        Panel("Accounts with state", {"extraction_accounts{$JOB}": "{{instance}}"}),
        Panel(
            "Accounts dropped by reason",
            {"sum by (reason) (increase(extraction_accounts_dropped_total{$JOB}[1h]))": "{{reason}}"},
            about="Expired is normal. Evicted: more accounts than state.max_accounts.",
        ),
        Panel(
            "Waiting for their turn in event-time order",
            {
                "sum(extraction_ordering_buffered_observations{$JOB})": "observations",
                "sum(extraction_ordering_buffered_sightings{$JOB})": "of groups",
            },
        ),
        Panel(
            "State of an account when saved, 95 %",
            {_quantile(0.95, "extraction_state_record_bytes"): "size"},
            "bytes",
        ),
        Panel(
            "Decisions of people, refused",
            {'max(extraction_control_records_total{$JOB, kind="refused"})': "refused"},
            about="Since the workers started.",
            limit=1,
        ),
        Panel("Versions", {"count by (version) (extraction_build_info{$JOB})": "{{version}}"}),
    ],
}


def expressions(panel: Panel) -> list[str]:
    """PromQL of a panel as Grafana sends it, but for its own variables."""
    return [query.replace("$JOB", _JOB) for query in panel.queries]


def build() -> dashboards.Dashboard:
    """Put the dashboard together."""
    board = (
        dashboards.Dashboard("Extraction detector")
        .uid(UID)
        .description("Model extraction on the request bus: attacks, and the health of what looks for them.")
        .tags(["security", "kafka"])
        .time("now-6h", "now")
        .refresh("30s")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .readonly()
        .with_variable(dashboards.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(
            dashboards.QueryVariable("job")
            .label("Deployment")
            .datasource(_SOURCE)
            .query("label_values(extraction_build_info, job)")
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .include_all(True)
            .multi(True)
            .hide(VariableHide.DONT_HIDE)
        )
    )
    below, panel_id = 0, 0
    for title, panels in ROWS.items():
        panel_id += 1
        board = board.with_row(dashboards.Row(title).id(panel_id).grid_pos(GridPos(1, WIDTH, 0, below)))
        below += 1
        across = 0
        for panel in panels:
            panel_id += 1
            height = 4 if panel.number else 8
            if across + panel.width > WIDTH:
                across, below = 0, below + height
            place = GridPos(height, panel.width, across, below)
            board = board.with_panel(_built(panel).id(panel_id).grid_pos(place))
            across += panel.width
        below += height
    return board


def _built(panel: Panel) -> stat.Panel | timeseries.Panel:
    if panel.number:
        made = stat.Panel().reduce_options(ReduceDataOptions().calcs(["lastNotNull"]).values(False))
    else:
        legend = VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
        made = timeseries.Panel().legend(legend.show_legend(True)).min(0).fill_opacity(8)
    made = made.title(panel.title).datasource(_SOURCE).unit(panel.unit)
    if panel.about:
        made = made.description(panel.about)
    steps = [Threshold(None, "green")]
    if panel.limit is not None:
        steps.append(Threshold(panel.limit, "red"))
    made = made.thresholds(dashboards.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
    for number, (query, name) in enumerate(zip(expressions(panel), panel.queries.values(), strict=True)):
        target = prometheus.Dataquery().datasource(_SOURCE).expr(query).ref_id(chr(ord("A") + number))
        made = made.with_target(target.legend_format(name) if name else target.instant())
    return made


def text() -> str:
    """`deploy/grafana/extraction-detector.json`."""
    return JSONEncoder(sort_keys=True, indent=2, ensure_ascii=False).encode(build().build()) + "\n"
