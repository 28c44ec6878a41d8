"""`extraction-detector fit`: a reference population of one's own."""

from pathlib import Path
from typing import Annotated

import typer

from streams.cli.options import Config


def fit(
    sources: Annotated[list[Path], typer.Argument(help="Recorded events, as for replay.")],
    out: Annotated[Path, typer.Option(dir_okay=False, help="Profile to write.")],
    labels: Annotated[
        Path | None, typer.Option(help="CSV: account_id,label,kind,campaign; extraction is left out.")
    ] = None,
    control: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False, help="Decisions: accounts labelled extraction, or banned, are left out."
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="Version of the profile, named on every alert.")] = "own-1",
    config: Config = None,
) -> None:
    """Fit the reference population to your own ordinary accounts.

    Reads the first 1,024 exchanges of every account. What prompts are for is read with the weights of the
    profile in the configuration, or of the one that ships. Use the result with `detection.profile`.
    The exit code is 1 if profiles fitted without an account flag significantly more than twice the budget:
    the traffic then holds kinds of accounts that are too few to learn, or extraction.

    Example: extraction-detector fit events-*.jsonl.gz --labels labels.csv --out profile.json
             EXTRACTION_DETECTION__PROFILE=profile.json extraction-detector replay events.jsonl.gz
    """
    from streams import evaluation
    from streams.build import build_intake, load_profile
    from streams.control import read_control
    from streams.fitting import fit_own, read_accounts
    from streams.replay import read_records
    from streams.settings import load_settings

    settings = load_settings(config)
    if not out.parent.is_dir():
        raise typer.BadParameter(f"{out.parent} is not a directory", param_hint="--out")
    known = {} if labels is None else evaluation.read_labels(labels)
    left_out = {account for account, label in known.items() if label.label == "extraction"}
    decided = None if control is None else read_control(control)
    intake = build_intake(settings, settings.secret_key(development=True))
    records = read_records(sorted(sources), max_bytes=settings.ingest.max_event_bytes)
    budget = settings.detection.budget
    accounts = read_accounts(intake, records)
    if decided is not None:
        left_out |= {account for account in accounts if decided.found_extracting(account)}
    found = fit_own(
        accounts,
        load_profile(settings),
        name=name,
        budget=budget,
        not_ordinary=left_out,
    )
    out.write_bytes(found.profile.encode())
    typer.echo(f"{'after 128 exchanges':20}{'median':>10}{'before':>10}{'99 %':>10}{'before':>10}")
    for row in found.drift:
        numbers = (row.new[0], row.base[0], row.new[1], row.base[1])
        typer.echo(f"{row.detector:20}" + "".join(f"{number:>10.3g}" for number in numbers))
    for reason, count in found.left_out.items():
        typer.echo(f"{count} accounts left out: {reason}")
    typer.echo(
        f"{found.accounts} accounts; fitted without them, {found.flagged} are flagged at a budget of "
        f"{budget:.2%}: {found.flagged / found.accounts:.2%} ({found.low:.2%} to {found.high:.2%})"
    )
    typer.echo(f"profile {name} written to {out}")
    if found.low > 2 * budget:
        typer.echo("the budget would not hold: see docs/profiles.md", err=True)
        raise typer.Exit(1)
