"""The example configuration is accepted by the program."""

from pathlib import Path

from streams.settings import load_settings

DEPLOY = Path(__file__).parents[2] / "deploy"


def test_the_example_configuration_loads():
    settings = load_settings(DEPLOY / "detector.toml")
    assert settings.topics.replication_factor == 3
    assert settings.metrics.host == "0.0.0.0"
