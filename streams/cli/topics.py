"""`extraction-detector topics`: makes the topics of the pipeline, and checks them."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.options import Config, Group, Output, Report

if TYPE_CHECKING:
    from streams.errors import Problem
    from streams.topics import Topic


def create(
    config: Config = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be made.")] = False,
    requests: Annotated[
        bool, typer.Option("--requests", help="Also make the request bus, for trying out without one.")
    ] = False,
    output: Report = Output.TEXT,
) -> None:
    """Make the topics that do not exist; existing ones are never changed.

    Exit code 1: a topic could not be made.

    Example:
      extraction-detector topics create --dry-run
      extraction-detector topics create --config detector.toml
    """
    from streams import topics
    from streams.settings import load_settings

    report = topics.create(load_settings(config), dry_run, requests=requests)
    made = "would be made" if dry_run else "made"
    if output is Output.JSON:
        typer.echo(
            json.dumps(
                {
                    "dry_run": dry_run,
                    "created": [_described(topic) for topic in report.created],
                    "existing": [topic.name for topic in report.existing],
                    "problems": [problem.as_dict() for problem in report.problems],
                },
                indent=2,
            )
        )
    else:
        for topic in report.created:
            typer.echo(f"{made}: {_line(topic)}")
        for topic in report.existing:
            typer.echo(f"exists: {topic.name}")
        _say(report.problems)
    if report.problems:
        raise typer.Exit(1)


def check(config: Config = None, output: Report = Output.TEXT) -> None:
    """Compare the topics on the cluster with what the pipeline needs. Changes nothing.

    Exit code 1: a topic is missing or wrong. Warnings alone leave it at 0.

    Example: extraction-detector topics check --output json
    """
    from streams import topics
    from streams.settings import load_settings

    problems = topics.check(load_settings(config))
    bad = any(problem.fatal for problem in problems)
    if output is Output.JSON:
        typer.echo(json.dumps({"ok": not bad, "problems": [p.as_dict() for p in problems]}, indent=2))
    else:
        _say(problems)
        if not bad:
            typer.echo("all topics are as they must be")
    if bad:
        raise typer.Exit(1)


def acls(
    config: Config = None,
    user: Annotated[
        str, typer.Option(metavar="USER", help="What the users are called; {role} stands for the role.")
    ] = "User:extraction-{role}",
    output: Report = Output.TEXT,
) -> None:
    """Print the least permissions that each role needs on the cluster. Reaches no cluster, changes nothing.

    Roles are ingest and detect, for workers, and analyst, for people who read alerts and decide about
    accounts. One user may have several roles: --user User:extraction.

    Example:
      extraction-detector topics acls --config detector.toml > grant.sh
      extraction-detector topics acls --user User:CN=extraction-{role} --output json
    """
    import dataclasses

    from streams import acls as permissions
    from streams.settings import load_settings

    settings = load_settings(config)
    principals = {role: user.replace("{role}", role) for role in permissions.ROLES}
    if output is Output.JSON:
        found = permissions.grants(settings)
        listed = [{"principal": principals[grant.role], **dataclasses.asdict(grant)} for grant in found]
        typer.echo(json.dumps({"grants": listed}, indent=2))
    else:
        for line in permissions.commands(settings, principals):
            typer.echo(line)


topics = Group(
    "Make and check the topics of the pipeline.\n\n"
    "Names, partitions and replication come from the section `topics` of the configuration.",
    {"create": create, "check": check, "acls": acls},
)


def _described(topic: "Topic") -> dict[str, object]:
    return {"name": topic.name, "partitions": topic.partitions, "config": topic.config}


def _line(topic: "Topic") -> str:
    config = " ".join(f"{name}={value}" for name, value in topic.config.items())
    count = f"{topic.partitions} partitions" if topic.partitions != 1 else "1 partition"
    return f"{topic.name}  {count}  {config}".rstrip()


def _say(problems: "list[Problem]") -> None:
    for problem in problems:
        typer.echo(f"{problem.severity}: {problem}", err=True)
