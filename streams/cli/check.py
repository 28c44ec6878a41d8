"""`extraction-detector check`: is the configuration right, and is everything there that it names."""

import json
from typing import Annotated, Any

import typer

from streams.cli.options import Config, Output, Report


def check(
    config: Config = None,
    show: Annotated[
        bool, typer.Option("--print", help="Print the effective configuration as TOML, secrets hidden.")
    ] = False,
    offline: Annotated[bool, typer.Option(help="Only the configuration; reach no server.")] = False,
    output: Report = Output.TEXT,
) -> None:
    """Validate the configuration, reach the brokers, look at the topics. Changes nothing.

    Every problem is listed, not only the first. Exit code 2: the configuration cannot be used; 1: a
    broker cannot be reached, or a topic is missing or wrong; 0: a worker can start.

    Example:
      extraction-detector check --config detector.toml
      extraction-detector check --config detector.toml --print > effective.toml
      extraction-detector check --offline --output json
    """
    from streams import topics
    from streams.errors import BrokerUnreachable, Problem, SettingsError
    from streams.settings import load_settings

    settings = load_settings(config)
    problems: list[Problem] = []
    brokers: list[str] = []
    try:
        settings.secret_key()
    except SettingsError as error:
        problems.extend(error.problems)
    if not offline:
        try:
            brokers = sorted(topics.reach(settings).brokers.values())
            problems.extend(topics.check(settings))
        except BrokerUnreachable as error:
            problems.append(Problem("kafka.bootstrap_servers", str(error)))
    bad = any(problem.fatal for problem in problems)
    if output is Output.JSON:
        report: dict[str, Any] = {
            "ok": not bad,
            "brokers": brokers,
            "problems": [problem.as_dict() for problem in problems],
        }
        if show:
            report["configuration"] = settings.effective()
        typer.echo(json.dumps(report, indent=2, default=str))
    else:
        if show:
            typer.echo(settings.describe(), nl=False)
        typer.echo("configuration: valid", err=True)
        if brokers:
            typer.echo(f"brokers: {', '.join(brokers)}", err=True)
        for problem in problems:
            typer.echo(f"{problem.severity}: {problem}", err=True)
        if not bad:
            typer.echo(
                "ready: a worker can start" if not offline else "ready, as far as can be told offline",
                err=True,
            )
    if bad:
        raise typer.Exit(1)
