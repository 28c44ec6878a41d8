"""`extraction-detector worker`: ingest and detect on a real cluster."""

import enum
from typing import Annotated

import typer

from streams.cli.options import Config


class Role(enum.StrEnum):
    """What a worker does."""

    ALL = "all"
    INGEST = "ingest"
    DETECT = "detect"


def worker(
    config: Config = None,
    role: Annotated[Role, typer.Option(help="Run both stages, or one of them.")] = Role.ALL,
) -> None:
    """Run the pipeline: read the request bus, keep statistics per account, raise alerts.

    Start as many workers as there is traffic for; partitions are shared out among them. Stop with SIGTERM or
    Ctrl-C: what was read is saved first. A worker that cannot go on exits with code 1, so that its
    supervisor starts a fresh one, which continues from what is saved.
    """
    from streams import worker as live
    from streams.settings import load_settings

    settings = load_settings(config)
    key = settings.secret_key()
    live.run(settings, live.ROLES if role is Role.ALL else (role.value,), key)
