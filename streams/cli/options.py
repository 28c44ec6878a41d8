"""What several subcommands share: options, so that they mean the same everywhere, and groups of commands."""

import dataclasses
import enum
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer


class Output(enum.StrEnum):
    """Form of a report."""

    TEXT = "text"
    JSON = "json"


Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="TOML configuration; environment variables go over it. Default: what EXTRACTION_CONFIG names.",
    ),
]

Report = Annotated[Output, typer.Option("--output", "-o", help="text for people, json for programs.")]


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """A subcommand that has subcommands.

    Attributes
    ----------
    about : str
        Help text.
    commands : dict
        Name to function.
    """

    about: str
    commands: dict[str, Callable[..., None]]
