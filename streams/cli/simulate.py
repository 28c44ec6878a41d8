"""`extraction-detector simulate`: writes labelled traffic to a file or a topic."""

import datetime as dt
import enum
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.options import Config

if TYPE_CHECKING:
    from streams.errors import Problem
    from streams.simulate import Composition, PromptSource, SimulationSpec

_REPORT_EVERY = 50_000  # events between two lines of progress


class KeyedBy(enum.StrEnum):
    """What records on the topic are keyed by."""

    NONE = "none"
    ACCOUNT = "account"
    RANDOM = "random"


def simulate(
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File to write: ends in .jsonl, .jsonl.gz or .jsonl.zst."),
    ] = None,
    topic: Annotated[
        str | None, typer.Option(metavar="NAME", help="Kafka topic to write to instead.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="CSV file for account_id,label,kind,campaign; what evaluate reads."
        ),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of prompt files (*.jsonl.gz); default: prompts of the built-in generator.",
        ),
    ] = None,
    other_abuse: Annotated[
        bool, typer.Option("--other-abuse", help="Also use prompts labelled other_abuse, as benign accounts.")
    ] = False,
    accounts: Annotated[int, typer.Option(help="Accounts, benign and extracting.")] = 1000,
    extraction_share: Annotated[float, typer.Option(help="Extracting accounts among all, 0 to 1.")] = 0.05,
    exchanges: Annotated[
        float, typer.Option(help="Exchanges of a typical person over the whole time; machines have more.")
    ] = 60,
    account_class: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            metavar="NAME=WEIGHT",
            help="Benign accounts: person, templated, batch, agent. Several times; default: mostly person.",
        ),
    ] = None,
    mode: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=WEIGHT",
            help="Extracting accounts: overt, paced, covered, sharded. Several times; default: all alike.",
        ),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND", help="Only this kind of extraction. Several times; default: all."),
    ] = None,
    cover: Annotated[
        float, typer.Option(help="Cover traffic in covered accounts, share from 0 to 0.99.")
    ] = 0.5,
    shards: Annotated[int, typer.Option(help="Accounts per sharded campaign.")] = 20,
    linked: Annotated[
        float, typer.Option(help="Share of a campaign's accounts that pay with one card, 0 to 1.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="The same seed writes the same events.")] = 1,
    start: Annotated[
        str, typer.Option(metavar="TIME", help="Beginning of event time, RFC 3339.")
    ] = "2026-03-02T00:00:00Z",
    days: Annotated[float, typer.Option(help="Event time covered. Days.")] = 7,
    rate: Annotated[
        float | None,
        typer.Option(
            help="Events per second on a topic, stamped with the present time. Default: full speed."
        ),
    ] = None,
    keep_times: Annotated[
        bool, typer.Option("--keep-times", help="With --rate: leave event times as composed.")
    ] = False,
    keyed_by: Annotated[
        KeyedBy, typer.Option(help="Keys on the topic; a request bus may have any.")
    ] = KeyedBy.NONE,
    bootstrap: Annotated[
        str | None,
        typer.Option(metavar="SERVERS", help="Kafka of --topic, host:port. Default: as configured."),
    ] = None,
    config: Config = None,
) -> None:
    """Write labelled traffic: ordinary accounts, and some that harvest the model's answers.

    Benign accounts are people, customers with a template, jobs over a data set and coding agents.
    Extracting ones work at machine pace (overt), like a person (paced), amid cover traffic (covered)
    or spread over a campaign of accounts (sharded). Covered and sharded ones can be told from people
    by their text alone, not by times, lengths of answers, networks or other fields.

    Example:
      extraction-detector simulate --out events.jsonl.gz --labels labels.csv
      extraction-detector simulate --prompts DIR --out events.jsonl.zst --mode sharded=1 --shards 50
      extraction-detector simulate --topic llm.requests --bootstrap localhost:9092 --rate 200
    """
    from streams.errors import Problem
    from streams.simulate import labels_csv
    from streams.simulate.writer import WriteError, write_file

    problems: list[Problem] = _check_target(out, topic, bootstrap, rate, keyed_by, keep_times=keep_times)
    if labels is not None and not labels.absolute().parent.is_dir():
        problems.append(
            Problem("--labels", f"there is no folder {labels.parent}", "Make it, or name another")
        )
    spec = _spec(
        problems,
        accounts=accounts,
        extraction_share=extraction_share,
        exchanges=exchanges,
        classes=_weights("--class", account_class, problems),
        modes=_weights("--mode", mode, problems),
        kinds=tuple(dict.fromkeys(kind)) if kind else None,
        cover=cover,
        shards=shards,
        linked=linked,
        seed=seed,
        start=_time(start, problems),
        days=days,
    )
    source = _prompts(prompts, problems, other_abuse=other_abuse)
    composed = _composed(spec, source, problems)
    if problems or composed is None:
        raise _bad_usage(problems)

    if labels is not None:
        try:
            labels.write_text(labels_csv(composed.labels), encoding="utf-8", newline="")
        except OSError as error:
            raise WriteError(f"{labels}: cannot be written: {error.strerror}") from None
    if out is not None:
        count = write_file(out, _with_progress(composed, len(composed)))
        where = str(out)
    else:
        count = _to_topic(
            composed, str(topic), bootstrap, config, keyed_by, rate, seed=seed, stamp=not keep_times
        )
        where = f"topic {topic}"
    extracting = sum(label.label == "extraction" for label in composed.labels)
    typer.echo(
        f"{where}: {count} events of {len(composed.labels)} accounts, {extracting} of them extract the model",
        err=True,
    )
    _tell_of_files(source, composed)


# -- usage -----------------------------------------------------------------------------------------


def _check_target(
    out: Path | None,
    topic: str | None,
    bootstrap: str | None,
    rate: float | None,
    keyed_by: KeyedBy,
    *,
    keep_times: bool,
) -> "list[Problem]":
    from streams.errors import Problem
    from streams.simulate.writer import WriteError, check_ending

    problems = []
    if (out is None) == (topic is None):
        problems.append(
            Problem(
                "--out, --topic", "none is given" if out is None else "both are given", "Give one of them"
            )
        )
    if out is not None:
        try:
            check_ending(out)
        except WriteError as error:
            problems.append(Problem("--out", str(error)))
        if not out.absolute().parent.is_dir():
            problems.append(Problem("--out", f"there is no folder {out.parent}", "Make it, or name another"))
    if rate is not None and not 0 < rate < float("inf"):
        problems.append(Problem("--rate", f"{rate:g} cannot be used", "Give events per second above 0"))
    if topic is None:
        for name, given in (
            ("--rate", rate is not None),
            ("--bootstrap", bootstrap is not None),
            ("--keyed-by", keyed_by is not KeyedBy.NONE),
        ):
            if given:
                problems.append(Problem(name, "is for --topic", "Leave it out, or give --topic"))
    elif keep_times and rate is None:
        problems.append(Problem("--keep-times", "is for --rate", "Leave it out: times are kept anyway"))
    return problems


def _weights(option: str, given: list[str] | None, problems: "list[Problem]") -> dict[str, float] | None:
    from streams.errors import Problem

    if not given:
        return None
    weights: dict[str, float] = {}
    for text in given:
        name, equals, weight = text.partition("=")
        try:
            weights[name.strip()] = float(weight) if equals else 1.0
        except ValueError:
            problems.append(
                Problem(option, f"{text!r} cannot be used", "Give NAME=WEIGHT, such as person=0.7")
            )
    return weights or None


def _time(text: str, problems: "list[Problem]") -> dt.datetime | None:
    from streams.errors import Problem

    try:
        time = dt.datetime.fromisoformat(text)
        if time.tzinfo is None:
            raise ValueError
    except ValueError:
        problems.append(
            Problem("--start", f"{text!r} cannot be used", "Give a time such as 2026-03-02T00:00:00Z")
        )
        return None
    return time


def _spec(problems: "list[Problem]", **given: Any) -> "SimulationSpec":
    """The specification; what is wrong is told and takes its default, so that the rest is checked as well."""
    from streams.errors import Problem
    from streams.simulate import SimulationSpec, SpecError

    keys = {key: value for key, value in given.items() if value is not None}
    try:
        return SimulationSpec(**keys)
    except SpecError as error:
        problems.extend(Problem(_option(p.where), p.message, p.fix) for p in error.problems)
        refused = {problem.where.partition(".")[0] for problem in error.problems}
        return SimulationSpec(**{key: value for key, value in keys.items() if key not in refused})


def _option(key: str) -> str:
    """Option of a key of the specification."""
    outer, _, inner = key.partition(".")
    option = {"classes": "--class", "modes": "--mode", "kinds": "--kind"}.get(
        outer, "--" + outer.replace("_", "-")
    )
    return f"{option} {inner}".strip()


def _prompts(
    directory: Path | None, problems: "list[Problem]", *, other_abuse: bool
) -> "PromptSource | None":
    from streams.errors import Problem
    from streams.simulate import BuiltinPrompts, FilePrompts, PromptFileError

    if directory is None:
        if other_abuse:
            problems.append(Problem("--other-abuse", "is for --prompts", "Leave it out, or give --prompts"))
        return BuiltinPrompts()
    if not directory.is_dir():
        problems.append(Problem("--prompts", f"{directory} is no folder", "Give one that holds *.jsonl.gz"))
        return None
    try:
        return FilePrompts(directory, other_abuse=other_abuse)
    except PromptFileError as error:
        if not problems:
            raise
        problems.append(Problem("--prompts", str(error)))
        return None


def _composed(
    spec: "SimulationSpec", source: "PromptSource | None", problems: "list[Problem]"
) -> "Composition | None":
    from streams.errors import Problem
    from streams.simulate import SpecError, compose

    if source is None:
        return None
    try:
        if problems:
            spec.check_against(source)
            return None
        return compose(spec, source)
    except SpecError as error:
        problems.extend(Problem(_option(p.where), p.message, p.fix) for p in error.problems)
        return None


def _bad_usage(problems: "Iterable[Problem]") -> typer.Exit:
    for problem in problems:
        typer.echo(f"simulate: {problem}", err=True)
    return typer.Exit(2)


# -- work ------------------------------------------------------------------------------------------


def _with_progress(events: Iterable[dict[str, Any]], total: int) -> Iterator[dict[str, Any]]:
    for number, event in enumerate(events, start=1):
        if number % _REPORT_EVERY == 0:
            typer.echo(f"{number} of {total} events", err=True)
        yield event


def _to_topic(
    composed: "Composition",
    topic: str,
    bootstrap: str | None,
    config: Path | None,
    keyed_by: KeyedBy,
    rate: float | None,
    *,
    seed: int,
    stamp: bool,
) -> int:
    from streams.settings import load_settings
    from streams.simulate.writer import TopicWriter, at_rate

    overrides = {} if bootstrap is None else {"kafka.bootstrap_servers": bootstrap}
    client = load_settings(config, overrides).kafka.client()
    writer = TopicWriter(client, topic, keyed_by=keyed_by.value, seed=seed)
    events: Iterable[dict[str, Any]] = composed
    if rate is not None:
        events = at_rate(events, rate, stamp=stamp)
    try:
        for event in _with_progress(events, len(composed)):
            writer.write(event)
    except KeyboardInterrupt:
        typer.echo(f"stopped; {writer.close()} events were written", err=True)
        raise typer.Exit(130) from None
    return writer.close()


def _tell_of_files(source: "PromptSource | None", composed: "Composition") -> None:
    from streams.simulate import FilePrompts

    if isinstance(source, FilePrompts):
        for name, rows in sorted(source.left_out.items()):
            typer.echo(f"note: {rows} rows of {name} were left out to bound memory", err=True)
    if composed.reused:
        names = ", ".join(f"{name} ({times} times)" for name, times in sorted(composed.reused.items()))
        typer.echo(
            f"note: prompts ran out and were used again: {names}. Fewer --accounts or --exchanges avoid that",
            err=True,
        )
