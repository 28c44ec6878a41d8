"""What several subcommands share: settings, keys, and failures said in one line."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import typer

from streams.settings import Settings, load_settings

DEVELOPMENT_KEY = b"extraction-detector development key, not secret"


def settings(config: Path | None, **overrides: object) -> Settings:
    """Validated settings; errors are turned into exit code 2 by `main`."""
    return load_settings(config, overrides)


def live_key(configured: Settings) -> bytes:
    """The secret that keys hashes; a live worker does not start without one."""
    key = configured.key()
    if key is None:
        typer.echo(
            "hash_key is not set: hashes of prompts and links would be open to guessing. Set "
            "EXTRACTION_HASH_KEY, or hash_key_file in the configuration, to at least 16 random bytes "
            "(openssl rand -hex 32).",
            err=True,
        )
        raise typer.Exit(2)
    return key


def offline_key(configured: Settings) -> bytes:
    """The configured secret, or a stated development key."""
    key = configured.key()
    if key is None:
        typer.echo(
            "hash_key is not set: using the development key. Hashes, and so alert ids, will not match "
            "a live system that has its own.",
            err=True,
        )
        return DEVELOPMENT_KEY
    return key


@contextlib.contextmanager
def failures() -> Iterator[None]:
    """Say what went wrong in one line and exit with 1."""
    from streams.topics import TopicsWrong

    from streams.evaluation import LabelError
    from streams.replay import SourceError
    from streams.worker import WorkerError

    try:
        yield
    except (WorkerError, SourceError, LabelError, TopicsWrong) as error:
        typer.echo(f"extraction-detector: {error}", err=True)
        raise typer.Exit(1) from None
