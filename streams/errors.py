"""Errors of the outer layer that a person can act on; each says what is wrong and what to do."""

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes
    ----------
    where : str
        Configuration key, topic or server it is about.
    message : str
        What is wrong with it.
    fix : str
        What to do; may be empty where the message already says it.
    severity : str
        "error", or "warning" for what works but should not stay so.
    """

    where: str
    message: str
    fix: str = ""
    severity: str = "error"

    @property
    def fatal(self) -> bool:
        """Whether nothing should start before it is put right."""
        return self.severity == "error"

    def as_dict(self) -> dict[str, str]:
        """Plain form, for programs."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        return f"{self.where}: " + (f"{self.message.rstrip('.')}. {self.fix}" if self.fix else self.message)


class StreamsError(Exception):
    """Base of the errors that end a command with one plain message."""


class SettingsError(StreamsError):
    """The configuration cannot be used.

    Parameters
    ----------
    problems : sequence of Problem
        Everything that is wrong, not only the first.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        count = len(self.problems)
        head = "1 problem" if count == 1 else f"{count} problems"
        super().__init__(f"{head} in the configuration:\n" + "\n".join(f"  {p}" for p in self.problems))


class BrokerUnreachable(StreamsError):  # noqa: N818 - says what is the case
    """No broker answered.

    Parameters
    ----------
    servers : str
        Bootstrap servers that were tried.
    detail : str
        What the client says of it.
    """

    def __init__(self, servers: str, detail: str) -> None:
        self.servers = servers
        self.detail = detail
        super().__init__(
            f"no Kafka broker answers at {servers}: {detail}. Check kafka.bootstrap_servers and "
            "kafka.properties (security.protocol, sasl.*, ssl.*), and that this machine can reach the brokers"
        )


class ServerError(StreamsError):
    """The page with metrics and health cannot be served."""
