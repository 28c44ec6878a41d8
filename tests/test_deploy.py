"""What lies in `deploy/` is accepted by the program that is to use it."""

from pathlib import Path

from streams.settings import load_settings

DEPLOY = Path(__file__).parent.parent / "deploy"


def test_the_example_configuration_loads():
    settings = load_settings(DEPLOY / "detector.toml")
    assert settings.topics.replication_factor == 3
    assert settings.metrics.host == "0.0.0.0"
