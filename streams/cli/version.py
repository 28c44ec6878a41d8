"""`extraction-detector version`: what is installed, for bug reports."""

import importlib.metadata
import json
import platform

import typer

import detectors
from streams.cli.options import Output, Report

_LIBRARIES = ("faust-streaming", "aiokafka", "confluent-kafka", "river", "numpy", "msgspec")


def version(output: Report = Output.TEXT) -> None:
    """Print the versions of the detector and of what its results rest on.

    Example: extraction-detector version --output json
    """
    import confluent_kafka

    found = {
        "extraction-detector": detectors.__version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in _LIBRARIES},
        "librdkafka": confluent_kafka.libversion()[0],
    }
    if output is Output.JSON:
        typer.echo(json.dumps(found, indent=2))
    else:
        width = max(map(len, found))
        typer.echo("\n".join(f"{name:<{width}}  {number}" for name, number in found.items()))
