"""The figures of detection as one page of HTML that needs nothing else: plots, and tables behind them."""

import html
import io
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_OURS = "this detector"
_INK, _PALE, _ACCENT = "#1b1b1b", "#9a9a9a", "#b3261e"
_COLOURS = ("#b3261e", "#1f6fb2", "#2e7d32", "#8e5bb5", "#c77700", "#00838f", "#6d4c41", "#546e7a")
_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;color:#1b1b1b;background:#fff;max-width:60rem;margin:2rem auto;
padding:0 1rem}
h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2.5rem}
figure{margin:1rem 0}figure svg{width:100%;height:auto}figcaption{color:#444}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums}
th,td{padding:.2rem .6rem;border-bottom:1px solid #ddd;text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}caption{text-align:left;color:#444;padding:.3rem 0}
.low{background:#fde7e5}.high{background:#e6f2e6}summary{cursor:pointer;margin:.5rem 0}
@media print{details{display:block}body{margin:0;max-width:none}}
"""

_SUMMARY = ("accounts", "share", "95 % interval", "by 20", "by 100", "by 200")

Cells = Sequence[Sequence[str]]


def page(result: dict[str, Any], budget: float) -> str:
    """One self-contained page.

    Parameters
    ----------
    result : dict
        Of `benchmarks.figures.figures`, and `ablation` and `signs` where they were measured.
    budget : float
        False-alarm budget that tables are for.

    Returns
    -------
    str
        HTML; the same bytes for the same figures.
    """
    name = f"{budget:g}"
    whole = {row["setting"]: row for row in result["rows"] if not row["class"] and not row["source"]}
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width'>",
        f"<title>Detection quality</title><style>{_STYLE}</style></head><body>",
        "<h1>Detection quality</h1>",
        _introduction(result, budget, sum(row["accounts"] for row in whole.values())),
        "<h2>Found, and flagged by mistake</h2>",
        _table(
            "Share of accounts by setting",
            ("setting", *_SUMMARY, "median", "90 %"),
            [_summary(setting, row, name) for setting, row in whole.items()],
        ),
        "<h2>Exchanges to the first alert</h2>",
        _figure(
            _found_by(result),
            f"Share of accounts with an alert by a number of exchanges, at a budget of {budget:.1%}.",
        ),
        "<h2>Next to published methods</h2>",
        _figure(
            _roc(result),
            "Share of accounts of known kinds found, mean over sources, against the share of ordinary "
            "accounts flagged. Thresholds are set on these ordinary accounts, which flatters all methods.",
        ),
        _table(
            "Found at equal false alarms",
            ("method", "at 0.5 %", "at 1 %", "at 5 %"),
            [
                (row["method"], *(f"{row[share]:.1%}" for share in ("0.005", "0.01", "0.05")))
                for row in result["methods"]
            ],
        ),
        "<h2>Is the budget kept?</h2>",
        _figure(
            _calibration(result),
            "Share of ordinary accounts of unknown sources that were flagged, with intervals, against the "
            "budget. On the line the budget is kept exactly; below it, with room.",
        ),
        _table(
            "Ordinary accounts flagged, by class",
            ("class", "accounts", "flagged", "95 % interval"),
            [
                (
                    row["class"],
                    str(row["accounts"]),
                    str(row["at"][name]["flagged"]),
                    _interval(row["at"][name]),
                )
                for row in result["rows"]
                if row["setting"] == "benign" and row["class"] and not row["source"]
            ],
        ),
        *_pools(result),
        "<h2>By source</h2>",
        _figure(
            _sources(result, name),
            "Share of accounts found, by source of query sets: dark, other sources of its kind were learned "
            "from; pale, none were.",
        ),
        *_ablation(result),
        "<h2>Every figure</h2>",
        "<details><summary>By setting, kind and source</summary>",
        _table(
            "",
            (
                "setting",
                "class or kind",
                "source",
                "accounts",
                "share",
                "interval",
                "by 20",
                "by 100",
                "by 200",
            ),
            [
                (row["setting"], row["class"] or "all", row["source"] or "all", *_summary("", row, name)[1:7])
                for row in result["rows"]
            ],
        ),
        "</details></body></html>\n",
    ]
    return "\n".join(parts)


# -- plots -----------------------------------------------------------------------------------------


def _found_by(result: dict[str, Any]) -> str:
    def draw(axes: Axes) -> None:
        for colour, row in zip(_COLOURS, result["found_by"], strict=False):
            axes.step(row["looks"], row["share"], where="post", color=colour, label=row["setting"])
            axes.plot(row["looks"], row["share"], "o", color=colour, markersize=3)
        axes.set_xscale("log", base=2)
        axes.set_xticks(looks := result["found_by"][0]["looks"], [str(look) for look in looks])
        axes.set_ylim(-0.02, 1.0)
        axes.set_xlabel("exchanges")
        axes.set_ylabel("accounts found")
        axes.legend(frameon=False, fontsize=8)

    return _svg(draw)


def _roc(result: dict[str, Any]) -> str:
    def draw(axes: Axes) -> None:
        for curve in reversed(result["roc"]):
            ours = curve["method"] == _OURS
            share = [max(k, 0.5) / curve["ordinary"] for k in range(len(curve["found"]))]
            at = sum(other["method"] != _OURS for other in result["roc"][: result["roc"].index(curve)])
            axes.step(
                share,
                curve["found"],
                where="post",
                color=_ACCENT if ours else _COLOURS[1 + at % (len(_COLOURS) - 1)],
                linewidth=2.2 if ours else 1.0,
                label=curve["method"],
            )
        axes.set_xscale("log")
        axes.set_ylim(-0.02, 1.0)
        axes.set_xlabel("ordinary accounts flagged (leftmost: none)")
        axes.set_ylabel("accounts found")
        handles, labels = axes.get_legend_handles_labels()
        axes.legend(handles[::-1], labels[::-1], frameon=False, fontsize=8)

    return _svg(draw)


def _calibration(result: dict[str, Any]) -> str:
    def draw(axes: Axes) -> None:
        rows = result["calibration"]
        budgets = [row["budget"] for row in rows]
        floor = min(budgets) / 4  # stands for none on a logarithmic axis
        axes.plot(budgets, budgets, color=_PALE, linewidth=1, label="the budget")
        axes.fill_between(
            budgets,
            [b / 2 for b in budgets],
            [2 * b for b in budgets],
            color=_PALE,
            alpha=0.15,
            label="within 2x",
        )
        shares = [max(row["share"], floor) for row in rows]
        axes.vlines(
            budgets, [max(row["low"], floor) for row in rows], [row["high"] for row in rows], color=_ACCENT
        )
        axes.plot(budgets, shares, "o", color=_ACCENT, label="flagged, 95 % interval")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("budget")
        axes.set_ylabel("ordinary accounts flagged (bottom: none)")
        axes.legend(frameon=False, fontsize=8, loc="lower right")

    return _svg(draw)


def _sources(result: dict[str, Any], budget: str) -> str:
    known = {row["source"]: row for row in result["rows"] if row["setting"] == "known kind" and row["source"]}
    never = {
        row["source"]: row for row in result["rows"] if row["setting"] == "kind never seen" and row["source"]
    }
    names = sorted(known, key=lambda name: (known[name]["class"], name), reverse=True)

    def draw(axes: Axes) -> None:
        for place, name in enumerate(names):
            axes.barh(place + 0.2, known[name]["at"][budget]["share"], 0.38, color=_INK)
            if name in never:
                axes.barh(place - 0.2, never[name]["at"][budget]["share"], 0.38, color=_PALE)
        axes.set_yticks(range(len(names)), [f"{name} ({known[name]['class']})" for name in names], fontsize=8)
        axes.set_xlim(0, 1)
        axes.set_xlabel("accounts found")

    return _svg(draw, height=max(2.0, 0.3 * len(names)))


def _svg(draw: Callable[[Axes], None], height: float = 4.2) -> str:
    # A fixed salt and no date: the same figures give the same bytes. Text stays text, to be searched.
    with mpl.rc_context({"svg.hashsalt": "detection", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure = Figure(figsize=(8, height), layout="constrained")
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


# -- tables ----------------------------------------------------------------------------------------


def _pools(result: dict[str, Any]) -> Iterable[str]:
    rows = result.get("pools")
    if rows is None:
        return
    budgets = list(rows[0]["at"])
    yield "<h2>Accounts that share a link</h2>"
    yield _table(
        "Campaigns whose accounts share out one query set, and ordinary pools of sources that the reference "
        "does not know. Spent: share of the campaign before the first alert, median. Named: members in "
        "alerts; rightly: share of those named that are of the campaign.",
        ("pool", "pools", *(f"flagged at {float(b):.1%}" for b in budgets), "spent", "named", "rightly"),
        [
            (
                f"{row['members']} x {row['each']} exchanges, {row['cover']:.0%} ordinary traffic"
                if row["setting"] == "campaign"
                else "ordinary",
                str(row["pools"]),
                *(f"{row['at'][b]:.1%}" for b in budgets),
                *(
                    "-" if row[key] is None or row["setting"] != "campaign" else f"{row[key]:.0%}"
                    for key in ("spent", "recall", "precision")
                ),
            )
            for row in rows
        ],
    )


def _ablation(result: dict[str, Any]) -> Iterable[str]:
    rows = result.get("ablation")
    if rows is None:
        return
    settings = [name for name in rows[0] if name != "set"]
    budgets = list(rows[0][settings[0]])
    head = ["detectors", *(f"{setting}, {float(b):.1%}" for setting in settings for b in budgets)]
    yield "<h2>What each detector adds</h2>"
    yield _table(
        "Mean over sources of the share found or flagged, at two budgets; tables and combination fitted anew",
        head,
        [(row["set"], *(f"{row[setting][b]:.1%}" for setting in settings for b in budgets)) for row in rows],
    )
    signs = result["signs"]
    kinds = sorted({kind for row in signs for kind in row["kinds"]})
    yield "<h2>Where a detector's sign is wrong</h2>"
    yield _table(
        "Probability that an account of the kind scores above an ordinary one, after 64 exchanges; 0.5 is "
        "chance. Marked: below 0.4, above 0.6. Detectors with two sides use both.",
        ("detector", *kinds),
        [(row["detector"], *(_area(row["kinds"].get(kind)) for kind in kinds)) for row in signs],
        mark=True,
    )


def _area(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.2f}"


def _summary(setting: str, row: dict[str, Any], budget: str) -> tuple[str, ...]:
    at = row["at"][budget]
    return (
        setting,
        str(row["accounts"]),
        f"{at['share']:.1%}",
        _interval(at),
        *(f"{at['by'][n]:.0%}" for n in ("20", "100", "200")),
        str(at["median"] or "-"),
        str(at["p90"] or "-"),
    )


def _introduction(result: dict[str, Any], budget: float, accounts: int) -> str:
    return (
        "<p>Every source of prompts is judged with weights, limits and a reference population that never "
        f"saw it. Seed {result['seed']}, scale {result['scale']:g}, budget {budget:.1%} of ordinary "
        f"accounts, {accounts} accounts. Intervals are Clopper-Pearson, 95 %; they treat accounts of one "
        "source as independent, which flatters.</p>"
    )


def _interval(at: dict[str, Any]) -> str:
    return f"{at['low']:.1%} to {at['high']:.1%}"


def _table(caption: str, head: Sequence[str], rows: Cells, *, mark: bool = False) -> str:
    def cell(text: str, first: bool) -> str:
        shade = ""
        if mark and not first and text != "-":
            shade = " class='low'" if float(text) < 0.4 else " class='high'" if float(text) > 0.6 else ""
        return f"<td{shade}>{html.escape(text)}</td>"

    lines = ["<div class='wide'><table>", f"<caption>{html.escape(caption)}</caption>" if caption else ""]
    lines.append("<tr>" + "".join(f"<th scope='col'>{html.escape(one)}</th>" for one in head) + "</tr>")
    lines += ["<tr>" + "".join(cell(one, at == 0) for at, one in enumerate(row)) + "</tr>" for row in rows]
    return "\n".join([*lines, "</table></div>"])


def _figure(svg: str, caption: str) -> str:
    label = html.escape(caption, quote=True)
    shown = f'<div role="img" aria-label="{label}">{svg}</div>'
    return f"<figure>{shown}<figcaption>{html.escape(caption)}</figcaption></figure>"
