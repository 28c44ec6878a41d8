"""What all tests share: a broker where one can be had, unique names, and reproducible property tests."""

import itertools
import os

import pytest
from hypothesis import settings

from tests.kafka.broker import BrokerUnavailableError, obtain_broker, own_broker

# For everybody, not only under CI: what fails there then fails here, with the same example.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.load_profile("ci")

_counter = itertools.count(1)
_used = pytest.StashKey[list[str]]()
_failed = pytest.StashKey[dict[object, str]]()


def pytest_configure(config):
    config.stash[_used] = []
    config.stash[_failed] = {}


def pytest_collection_modifyitems(items):
    # So that -m "not kafka" leaves out every test that would start a broker, also an unmarked one.
    for item in items:
        if {"kafka", "own_kafka"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.kafka)


def pytest_terminal_summary(terminalreporter, config):
    for line in dict.fromkeys(config.stash[_used]):
        terminalreporter.write_line(line)


def _obtain(request, way, *arguments):
    """A broker, or a skip with the reason; under CI a failure, since a skipped test proves nothing there."""
    failed = request.config.stash[_failed]
    tried = (way, repr(arguments))
    try:
        if tried not in failed:  # what failed once is not tried, and waited for, again by every test
            broker = way(*arguments)
    except BrokerUnavailableError as error:
        failed[tried] = str(error)
    if tried in failed:
        if os.environ.get("CI"):
            pytest.fail(f"CI is set, so a Kafka broker must be there: {failed[tried]}", pytrace=False)
        pytest.skip(failed[tried])
    request.config.stash[_used].append(f"Apache Kafka {broker.version}: {broker.how}")
    return broker


@pytest.fixture(scope="session")
def kafka(request):
    """The broker all tests share: never stop it, and use names from `unique`."""
    with _obtain(request, obtain_broker) as broker:
        yield broker


@pytest.fixture
def own_kafka(request):
    """A broker of one test's own, which it may kill, pause and restart; its parameter: server properties."""
    with _obtain(request, own_broker, getattr(request, "param", None)) as broker:
        yield broker


@pytest.fixture
def unique():
    """A short name no other test uses, also not in another run against the same broker."""
    return f"t{next(_counter)}-{os.getpid()}"
