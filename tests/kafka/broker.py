"""A real Apache Kafka for the tests: one already running, else a container, else one on the local JVM."""

import atexit
import collections
import contextlib
import ctypes
import hashlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from xml.etree import ElementTree

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

POM = Path(__file__).with_name("pom.xml")
CACHE = Path(__file__).parents[2] / ".cache" / "kafka"
START_SECONDS = 90.0
STOP_SECONDS = 30.0
RESOLVE_SECONDS = 600.0

# A single node with everything small and no waiting for peers that will not come.
SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "default.replication.factor": "1",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "auto.create.topics.enable": "false",
    "log.cleaner.backoff.ms": "500",
    "log.cleaner.dedupe.buffer.size": "8388608",
    # A restarted broker is let in again when its earlier session has ended.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
}
# For a quick start: no optimising compiler, the simplest collector, classes shared where the JVM can.
JVM_OPTIONS = (
    "-Xmx512m",
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-Xshare:auto",
    "-Djava.awt.headless=true",
)
LOG_OPTIONS = (
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
)


class BrokerUnavailableError(Exception):
    """No broker could be had; the message says what was tried and why each failed."""


def wait_until(condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    """Poll `condition` until it is true, else fail naming `what` was waited for.

    Parameters
    ----------
    condition : callable
        Called about every 50 ms.
    what : str
        For the error.
    seconds : float
        Longest wait.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not so after {seconds:g} s")
        time.sleep(0.05)


class KafkaBroker:
    """A broker to test against; this base class is one that somebody else runs.

    Parameters
    ----------
    bootstrap_servers : str
        Addresses as ``host:port``, separated by commas.
    how : str
        How it was obtained, for people.
    version : str
        Kafka's version, "unknown" where nobody says.

    Attributes
    ----------
    controllable : bool
        Whether tests may start, stop, kill, pause and resume it.
    configured : bool
        Whether it runs with `SETTINGS`.
    """

    controllable = False
    configured = False

    def __init__(self, bootstrap_servers: str, how: str, version: str = "unknown") -> None:
        self.bootstrap_servers = bootstrap_servers
        self.how = how
        self._version = version

    @property
    def version(self) -> str:
        """Kafka's version, or "unknown"."""
        return self._version

    def __enter__(self) -> "KafkaBroker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def admin(self) -> AdminClient:
        """Return a new admin client for this broker."""
        return AdminClient(self._client_settings())

    def create_topic(self, name: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
        """Create a topic and wait until every partition has a leader; returns the name."""
        admin = self.admin()
        topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=dict(config or {}))
        admin.create_topics([topic], operation_timeout=30)[name].result(30)

        def led() -> bool:
            found = admin.list_topics(name, timeout=10).topics[name].partitions
            return len(found) == partitions and all(p.leader >= 0 for p in found.values())

        wait_until(led, f"topic {name}: all {partitions} partitions have a leader")
        return name

    def log_tail(self, lines: int = 40) -> str:
        """Last lines of the broker's log; empty where it cannot be read."""
        return ""

    def close(self) -> None:
        """Give the broker up; one that somebody else runs is left alone."""

    def _client_settings(self) -> dict[str, object]:
        # Refused connections are normal while a broker starts: librdkafka would print each of them.
        return {"bootstrap.servers": self.bootstrap_servers, "log_level": 0, "socket.timeout.ms": 10_000}

    def _answers(self, seconds: float = 2.0) -> bool:
        try:
            return bool(self.admin().list_topics(timeout=seconds).brokers)
        except KafkaException:
            return False


class DockerBroker(KafkaBroker):
    """Apache Kafka's own image, run by testcontainers; it lives as long as the tests."""

    configured = True

    def __init__(self, version: str) -> None:
        from testcontainers.core.container import DockerContainer

        port = free_ports(1)[0]
        self._container = DockerContainer(f"apache/kafka:{version}").with_bind_ports(9092, port)
        # Not always this machine: DOCKER_HOST may name another. The broker tells clients this address.
        address = f"{self._container.get_docker_client().host()}:{port}"
        super().__init__(address, f"container apache/kafka:{version}", version)
        # The image drops all its defaults as soon as one setting is given, so all are.
        settings = SETTINGS | {
            "listeners": "PLAINTEXT://:9092,CONTROLLER://:9093",
            "advertised.listeners": f"PLAINTEXT://{address}",
            "controller.quorum.voters": "1@localhost:9093",
        }
        for name, value in settings.items():
            self._container.with_env("KAFKA_" + name.upper().replace(".", "_"), value)
        try:
            self._container.start()
            wait_until(self._answers, f"{self.how} answers at {address}", START_SECONDS)
        except TimeoutError as error:
            told = self.log_tail()
            self.close()
            raise BrokerUnavailableError(f"{error}; its log:\n{told}") from error
        except BaseException:
            self.close()
            raise

    def log_tail(self, lines: int = 40) -> str:
        """Last lines the container printed."""
        text = b"".join(self._container.get_logs()).decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def close(self) -> None:
        """Remove the container."""
        self._container.stop()


class JvmBroker(KafkaBroker):
    """Apache Kafka in KRaft mode, one process of the local JVM, which tests may kill, pause and restart.

    Data and ports stay the same from the first `start` to `close`.

    Parameters
    ----------
    settings : mapping of str to str, optional
        Server properties over those of `SETTINGS`.
    """

    controllable = True
    configured = True

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        self._java = java_command()
        self._classpath = classpath()
        version = kafka_version()
        self._directory = Path(tempfile.mkdtemp(prefix="kafka-"))
        self._log = self._directory / "broker.log"
        self._properties = self._directory / "server.properties"
        self._process: subprocess.Popen[bytes] | None = None
        self._port, controller = free_ports(2)
        super().__init__(f"127.0.0.1:{self._port}", "local JVM", version)
        self._write_properties(controller, settings or {})
        atexit.register(self.close)
        try:
            self._format()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int | None:
        """Process id while one runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Start the broker and wait until it answers.

        On Linux the kernel ends it with the thread that started it, so call this from one that stays.
        """
        if self.pid is not None:
            raise RuntimeError("broker already runs; stop() it first")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command("kafka.Kafka", str(self._properties)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._directory,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - a prctl call only, with the library loaded before
            )

        def ready() -> bool:
            if self.pid is None:
                raise BrokerUnavailableError(f"broker ended while starting; its log:\n{self.log_tail()}")
            return self._listens() and self._answers()

        try:
            wait_until(ready, f"broker answers at {self.bootstrap_servers}", START_SECONDS)
        except TimeoutError as error:
            self.kill()
            raise BrokerUnavailableError(f"{error}; its log:\n{self.log_tail()}") from error
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Shut down in order (SIGTERM), or by force after 30 s; data stays."""
        if self.pid is None:
            return
        assert self._process is not None
        self.resume()  # a stopped process would not see the signal
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End without warning (SIGKILL); data stays."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """Freeze the process (SIGSTOP): connections stay open, nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue after `pause`."""
        self._signal(signal.SIGCONT)

    def restart(self) -> None:
        """Stop if running, then start with the same ports and data."""
        self.stop()
        self.start()

    def log_tail(self, lines: int = 40) -> str:
        """Last lines of the log of all runs."""
        if not self._log.exists():
            return ""
        with self._log.open(errors="replace") as log:
            return "".join(collections.deque(log, lines))

    def close(self) -> None:
        """End the broker and remove its data; may be called again."""
        atexit.unregister(self.close)
        self.kill()  # nothing is kept, so an orderly shutdown would only take longer
        shutil.rmtree(self._directory, ignore_errors=True)

    def _listens(self) -> bool:
        """Whether a client is worth making: cheap, unlike finding out by one that nobody is there."""
        try:
            socket.create_connection(("127.0.0.1", self._port), timeout=2.0).close()
        except OSError:
            return False
        return True

    def _signal(self, number: signal.Signals) -> None:
        if self.pid is None:
            raise RuntimeError(f"broker does not run, {number.name} cannot be sent; start() it first")
        os.kill(self.pid, number)

    def _command(self, main: str, *arguments: str) -> list[str]:
        return [self._java, *JVM_OPTIONS, *LOG_OPTIONS, "-cp", self._classpath, main, *arguments]

    def _write_properties(self, controller: int, more: Mapping[str, str]) -> None:
        plain = f"PLAINTEXT://127.0.0.1:{self._port}"
        settings = SETTINGS | {
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
            "log.dirs": str(self._directory / "data"),
            **more,
        }
        # Listeners of a test's own come beside these, which the tests' tools use.
        for name, ours in (
            ("listeners", f"{plain},CONTROLLER://127.0.0.1:{controller}"),
            ("advertised.listeners", plain),
        ):
            settings[name] = ",".join(filter(None, [ours, more.get(name)]))
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))

    def _format(self) -> None:
        cluster = self._storage_tool("random-uuid").strip().splitlines()[-1]
        self._storage_tool("format", "--standalone", "-t", cluster, "-c", str(self._properties))

    def _storage_tool(self, *arguments: str) -> str:
        command = self._command("kafka.tools.StorageTool", *arguments)
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=START_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise BrokerUnavailableError(
                f"StorageTool {arguments[0]}: no end after {START_SECONDS:g} s"
            ) from error
        if done.returncode:
            raise BrokerUnavailableError(f"StorageTool {arguments[0]} failed:\n{done.stdout}{done.stderr}")
        return done.stdout


def obtain_broker() -> KafkaBroker:
    """Return a started broker that tests share.

    Returns
    -------
    KafkaBroker
        The one at ``KAFKA_BOOTSTRAP_SERVERS`` where that is set and nothing else, else a container, else one
        on the local JVM.

    Raises
    ------
    BrokerUnavailableError
        Where none can be had; says why for each way.
    """
    given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "").strip()
    if given:
        broker = KafkaBroker(given, "KAFKA_BOOTSTRAP_SERVERS")
        if not broker._answers(seconds=10.0):
            raise BrokerUnavailableError(
                f"KAFKA_BOOTSTRAP_SERVERS={given}: no broker answers there; start it, or unset the variable"
            )
        return broker
    reasons = []
    unusable = docker_problem()
    if unusable is None:
        try:
            return DockerBroker(kafka_version())
        except Exception as error:  # noqa: BLE001 - many libraries' errors, all kept for the final message
            unusable = f"{type(error).__name__}: {error}"
    reasons.append(f"container: {unusable}")
    try:
        return own_broker()
    except BrokerUnavailableError as error:
        reasons.append(f"local JVM: {error}")
    raise BrokerUnavailableError("no Kafka broker; KAFKA_BOOTSTRAP_SERVERS: not set; " + "; ".join(reasons))


def own_broker(settings: Mapping[str, str] | None = None) -> JvmBroker:
    """Return a started broker of the caller's own, which may be killed and restarted.

    Parameters
    ----------
    settings : mapping of str to str, optional
        Server properties over those of `SETTINGS`; listeners are added to its own.

    Raises
    ------
    BrokerUnavailableError
        Where Java or Kafka's jars are missing, or it does not start; the message has the log's end.
    """
    attempts = 3
    for attempt in range(1, attempts + 1):
        broker = JvmBroker(settings)
        try:
            broker.start()
        except BrokerUnavailableError as error:
            broker.close()
            # Another process may take a port between the check and the bind.
            if "Address already in use" not in str(error) or attempt == attempts:
                raise
        except BaseException:
            broker.close()
            raise
        else:
            return broker
    raise AssertionError("unreachable")


def docker_problem() -> str | None:
    """Return why containers cannot be used, None if they can."""
    try:
        import docker

        docker.from_env(timeout=5).ping()
    except ImportError as error:
        return f"{error}; install the dev extra"
    except docker.errors.DockerException as error:
        return f"Docker does not answer ({str(error)[:200]})"
    return None


def kafka_version() -> str:
    """Return the version of Kafka that the pom names."""
    name = "{http://maven.apache.org/POM/4.0.0}properties/{http://maven.apache.org/POM/4.0.0}kafka.version"
    found = ElementTree.parse(POM).findtext(name)
    if not found:
        raise BrokerUnavailableError(f"{POM}: no property kafka.version")
    return found.strip()


def java_command() -> str:
    """Return the path of a Java that is new enough."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    if java is None:
        raise BrokerUnavailableError(
            "no java in " + (f"JAVA_HOME={home}" if home else "PATH") + "; install 17+"
        )
    shown = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=False).stderr
    version = re.search(r'version "(\d+)', shown)
    if version is None or int(version[1]) < 17:
        raise BrokerUnavailableError(f"{java}: Java 17 or newer is needed, found {shown.splitlines()[:1]}")
    return java


def classpath() -> str:
    """Return Kafka's class path, resolved by Maven and remembered until the pom changes or a jar goes."""
    remembered = CACHE / f"{hashlib.sha256(POM.read_bytes()).hexdigest()[:16]}.classpath"
    if remembered.exists():
        found = remembered.read_text().strip()
        if found and all(Path(jar).is_file() for jar in found.split(os.pathsep)):
            return found
    maven = shutil.which("mvn")
    if maven is None:
        raise BrokerUnavailableError("no mvn in PATH, and Kafka's jars are not resolved yet; install Maven")
    CACHE.mkdir(parents=True, exist_ok=True)
    # Written aside and renamed, so that a run at the same time never reads half a file.
    fresh = remembered.with_suffix(f".{os.getpid()}.tmp")
    command = [maven, "-q", "-B", "-f", str(POM), "dependency:build-classpath", f"-Dmdep.outputFile={fresh}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=RESOLVE_SECONDS, check=False)
        if done.returncode or not fresh.exists():
            told = "\n".join((done.stdout + done.stderr).splitlines()[:10])
            raise BrokerUnavailableError(f"Maven could not resolve {POM}:\n{told}")
        fresh.replace(remembered)
    except subprocess.TimeoutExpired as error:
        raise BrokerUnavailableError(f"Maven did not resolve {POM} in {RESOLVE_SECONDS:g} s") from error
    finally:
        fresh.unlink(missing_ok=True)
    return remembered.read_text().strip()


def free_ports(count: int) -> list[int]:
    """Return free ports of 127.0.0.1, below those the system gives to outgoing connections.

    A broker that is down for a moment therefore does not lose its port to some client.
    """
    ports: list[int] = []
    chooser = random.SystemRandom()
    with contextlib.ExitStack() as held:
        for _ in range(1000):
            port = chooser.randrange(15_000, 32_000)
            probe = held.enter_context(socket.socket())
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
            if len(ports) == count:
                return ports
    raise BrokerUnavailableError("no free port between 15000 and 32000 on 127.0.0.1")


_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    """Have the kernel kill this process when the parent ends, however it ends (Linux only)."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
