"""The command `extraction-detector`: finds its subcommands, turns errors into messages and exit codes.

Exit codes: 0 done, 1 ran and the thing asked about is wrong, 2 bad usage or configuration,
130 interrupted. Data goes to standard output, everything else to standard error.
"""

import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import detectors
from detectors.errors import ConfigError, DetectorError
from streams import logs
from streams.cli.options import Group
from streams.errors import SettingsError, StreamsError
from streams.logs import LogFormat, LogLevel

NAME = "extraction-detector"

COMMANDS = (
    "demo",
    "worker",
    "topics",
    "check",
    "simulate",
    "replay",
    "campaigns",
    "evaluate",
    "fit",
    "label",
    "allow",
    "suppress",
    "ban",
    "version",
)
"""Subcommands in the order in which help lists them; each is `streams.cli.<name>.<name>`."""

_HELP = f"""Detect model extraction in a stream of language-model requests.

Request events come from Kafka, statistics are kept per account, and alerts with their reasons go to
a topic of their own. Recorded events give the same alerts by `replay`.

Examples:
  {NAME} demo                            everything on this machine, nothing else needed
  {NAME} check --config detector.toml    is the configuration right, is the cluster there
  {NAME} topics create                   make the topics it needs
  {NAME} worker --config detector.toml   run it
  {NAME} replay events.jsonl.gz          what would have been raised
  {NAME} allow acct_1 --for 7d --reason "load test"

Configuration is one TOML file, with environment variables (EXTRACTION_...) over it; see
docs/configuration.md. Exit codes: 0 done, 1 the thing asked about is wrong, 2 bad usage or
configuration, 130 interrupted.
"""


def _layout(text: str) -> str:
    """Mark the paragraphs whose line breaks mean something, so that help does not refill them."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(f"\b\n{p}" if p.lstrip().startswith("Example") else p for p in paragraphs)


def _in_plain_words(command: Callable[..., None]) -> Callable[..., None]:
    """Run `command` so that errors a person can act on end it with a message, not a traceback."""

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (SettingsError, ConfigError) as error:
            raise _end(error, 2) from None
        except (StreamsError, DetectorError) as error:
            raise _end(error, 1) from None

    return guarded


def _end(error: Exception, code: int) -> typer.Exit:
    typer.echo(f"{NAME}: {error}", err=True)
    return typer.Exit(code)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{NAME} {detectors.__version__}")
        raise typer.Exit


def _start(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version and exit.")
    ] = False,
    log_level: Annotated[
        LogLevel, typer.Option(envvar="EXTRACTION_LOG_LEVEL", help="Least that is logged.")
    ] = LogLevel.INFO,
    log_format: Annotated[
        LogFormat,
        typer.Option(envvar="EXTRACTION_LOG_FORMAT", help="One line of text or of JSON per record."),
    ] = LogFormat.TEXT,
) -> None:
    logs.setup(log_level, log_format)


class _InOrder(TyperGroup):
    """Lists subcommands in the order of `COMMANDS`, not groups last."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)


def build() -> typer.Typer:
    """The command with all its subcommands."""
    options: dict[str, Any] = {
        # Plain help: rich would read square brackets in texts and messages as markup.
        "rich_markup_mode": None,
        # A traceback of Typer's shows values of variables, which here may be prompts.
        "pretty_exceptions_enable": False,
        "context_settings": {"help_option_names": ["-h", "--help"]},
        "no_args_is_help": True,
    }
    app = typer.Typer(name=NAME, help=_layout(_HELP), cls=_InOrder, **options)
    app.callback()(_start)
    for name in COMMANDS:
        found = getattr(importlib.import_module(f"streams.cli.{name}"), name)
        if isinstance(found, Group):
            group = typer.Typer(name=name, help=_layout(found.about), **options)
            for inner, command in found.commands.items():
                _add(group, inner, command)
            app.add_typer(group)
        else:
            _add(app, name, found)
    return app


def _add(app: typer.Typer, name: str, command: Callable[..., None]) -> None:
    app.command(name, help=_layout(command.__doc__ or ""))(_in_plain_words(command))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    try:
        build()(None if arguments is None else list(arguments), prog_name=NAME)
    except KeyboardInterrupt:
        # Typer's own handling begins only after this module's imports.
        sys.exit(130)
