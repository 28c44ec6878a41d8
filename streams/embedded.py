"""A small Kafka broker inside librdkafka, in a process of its own, for demonstrations and quick tests.

The client library that the project uses anyway carries a mock cluster that speaks Kafka's protocol, so
neither a Java machine nor a container is needed. What it cannot do is said at `EmbeddedBroker`.

``python -m streams.embedded topic:partitions ...`` prints its address as the first line of standard output
and serves until standard input ends.
"""

import ctypes
import importlib.util
import re
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

from streams.errors import StreamsError

START_SECONDS = 30.0
STOP_SECONDS = 10.0

# Where the wheels of confluent-kafka put the library, relative to the package, per platform.
_LIBRARIES = (
    "../confluent_kafka.libs/librdkafka*.so*",
    ".dylibs/librdkafka*.dylib",
    "../confluent_kafka.dylibs/librdkafka*.dylib",
)
_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")  # what Kafka allows; the mock cluster would take anything
_PRODUCER = 0
_ERROR_BYTES = 512


class EmbeddedBrokerError(StreamsError):
    """The embedded broker cannot be had."""


class EmbeddedBroker:
    """The mock cluster as a child process, from ``with`` to its end.

    Parameters
    ----------
    topics : mapping of str to int
        Topics to create, with their number of partitions.

    Attributes
    ----------
    bootstrap_servers : str
        Address as ``host:port``.

    Raises
    ------
    EmbeddedBrokerError
        Where the child does not come up; the message carries what it printed.

    Notes
    -----
    The child ends when its standard input does, hence also when this process is killed.

    Limits, as seen with librdkafka 2.16:

    - A partition keeps its newest 5 MiB or so, in memory; older records go without a word. No compaction.
    - Transactions commit, but readers see aborted ones too, offsets sent within one are lost, and a second
      producer of the same ``transactional.id`` does not fence the first.
    - Offsets are not found by time: every such look-up answers -1, "at the end".
    - Topics cannot be created, deleted or described, nor can configurations or the cluster: an admin client
      waits out its request timeout (60 s unless set) and fails. ``list_topics`` works.
    - A topic that a client with ``allow.auto.create.topics`` (the default of producers and admin clients)
      merely asks about comes to exist, with 4 partitions.
    - No list of groups, no encryption, no authentication.
    """

    def __init__(self, topics: Mapping[str, int]) -> None:
        # -P: a module that happens to lie in the working directory must not stand in for one of ours.
        command = [sys.executable, "-P", "-m", "streams.embedded"]
        command += [f"{name}:{partitions}" for name, partitions in topics.items()]
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Ctrl-C is for this process, which then still has a broker to shut down against.
            start_new_session=True,
        )
        # A child that hangs is killed, which ends the read below.
        watchdog = threading.Timer(START_SECONDS, self._child.kill)
        watchdog.daemon = True
        watchdog.start()
        try:
            self.bootstrap_servers = _pipe(self._child.stdout).readline().strip()
        except BaseException:
            self._child.kill()
            self._child.communicate()
            raise
        finally:
            watchdog.cancel()
        if not self.bootstrap_servers:
            told = self._child.communicate()[1].strip()
            raise EmbeddedBrokerError(
                f"embedded broker did not start (exit status {self._child.returncode}): "
                + (told.splitlines()[-1] if told else f"no address within {START_SECONDS:g} s")
            )
        # A full pipe would block the child some day; it writes nothing that is needed after its start.
        threading.Thread(target=_drain, args=(_pipe(self._child.stderr),), daemon=True).start()

    def __enter__(self) -> "EmbeddedBroker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._child.pid

    def close(self) -> None:
        """End the broker and lose all it holds; may be called again."""
        _pipe(self._child.stdin).close()
        try:
            self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        _pipe(self._child.stdout).close()


def library_path() -> Path:
    """Return the librdkafka that the installed confluent-kafka brings along.

    Raises
    ------
    EmbeddedBrokerError
        Where it brings none, as a build from source does.
    """
    found = importlib.util.find_spec("confluent_kafka")
    if found is None or found.origin is None:
        raise EmbeddedBrokerError(
            "package confluent-kafka is not installed; install this project's dependencies"
        )
    package = Path(found.origin).parent
    for pattern in _LIBRARIES:
        for path in sorted((package / pattern).parent.glob(Path(pattern).name)):
            return path
    raise EmbeddedBrokerError(
        f"{package}: no librdkafka beside this confluent-kafka; install its wheel for Linux or macOS "
        "instead of a build from source, or use a real broker"
    )


def parse_topic(text: str) -> tuple[str, int]:
    """Return name and partitions of ``name:partitions``.

    Raises
    ------
    EmbeddedBrokerError
        Where the text is something else.
    """
    name, _, count = text.rpartition(":")
    if not _NAME.fullmatch(name) or not (count.isascii() and count.isdecimal()) or int(count) < 1:
        raise EmbeddedBrokerError(
            f"topic {text!r}: write it as name:partitions, the name of "
            "letters, digits and . _ -, with at least 1 partition"
        )
    return name, int(count)


def serve(topics: Mapping[str, int], stdin: IO[str], stdout: IO[str]) -> None:
    """Run the mock cluster in this process, print its address, and return when `stdin` ends.

    Parameters
    ----------
    topics : mapping of str to int
        Topics to create, with their number of partitions.
    stdin : text file
        Read to its end.
    stdout : text file
        Receives the address, one line.
    """
    library = _load(library_path())
    error = ctypes.create_string_buffer(_ERROR_BYTES)
    settings = library.rd_kafka_conf_new()
    # Keeps quiet that no server is configured: this handle only carries the cluster.
    library.rd_kafka_conf_set(settings, b"log_level", b"4", error, _ERROR_BYTES)
    handle = library.rd_kafka_new(_PRODUCER, settings, error, _ERROR_BYTES)
    if not handle:
        library.rd_kafka_conf_destroy(settings)
        raise EmbeddedBrokerError(f"librdkafka: {error.value.decode(errors='replace')}")
    cluster = library.rd_kafka_mock_cluster_new(handle, 1)
    if not cluster:
        library.rd_kafka_destroy(handle)
        raise EmbeddedBrokerError("librdkafka could not open a mock cluster on a local port")
    try:
        for name, partitions in topics.items():
            code = library.rd_kafka_mock_topic_create(cluster, name.encode(), partitions, 1)
            if code:
                reason = library.rd_kafka_err2str(code).decode()
                raise EmbeddedBrokerError(f"topic {name}: librdkafka could not create it: {reason}")
        print(library.rd_kafka_mock_cluster_bootstraps(cluster).decode(), file=stdout, flush=True)
        while stdin.readline():
            pass
    finally:
        library.rd_kafka_mock_cluster_destroy(cluster)
        library.rd_kafka_destroy(handle)


def main(arguments: Sequence[str]) -> int:
    """Serve the topics named on the command line; returns the exit status."""
    try:
        serve(dict(map(parse_topic, arguments)), sys.stdin, sys.stdout)
    except EmbeddedBrokerError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _load(path: Path) -> ctypes.CDLL:
    """Open librdkafka and declare the calls used, so that pointers are not cut to 32 bits."""
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    calls = {
        "rd_kafka_conf_new": (pointer, []),
        "rd_kafka_conf_set": (number, [pointer, text, text, text, ctypes.c_size_t]),
        "rd_kafka_conf_destroy": (None, [pointer]),
        "rd_kafka_new": (pointer, [number, pointer, text, ctypes.c_size_t]),
        "rd_kafka_destroy": (None, [pointer]),
        "rd_kafka_err2str": (text, [number]),
        "rd_kafka_mock_cluster_new": (pointer, [pointer, number]),
        "rd_kafka_mock_cluster_destroy": (None, [pointer]),
        "rd_kafka_mock_cluster_bootstraps": (text, [pointer]),
        "rd_kafka_mock_topic_create": (number, [pointer, text, number, number]),
    }
    try:
        library = ctypes.CDLL(str(path))
        for name, (result, arguments) in calls.items():
            call = getattr(library, name)
            call.restype, call.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise EmbeddedBrokerError(f"{path}: not usable as a mock cluster ({error})") from error
    return library


def _pipe(stream: IO[str] | None) -> IO[str]:
    """Return a pipe that is known to be there."""
    assert stream is not None
    return stream


def _drain(stream: IO[str]) -> None:
    """Read and forget until the stream ends."""
    with stream:
        for _ in stream:
            pass


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
