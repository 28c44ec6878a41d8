"""Logging: one line per record on standard error, as text for people or as JSON for collectors."""

import datetime as dt
import enum
import json
import logging
import sys
from typing import TextIO


class LogFormat(enum.StrEnum):
    """Form of a line."""

    TEXT = "text"
    JSON = "json"


class LogLevel(enum.StrEnum):
    """Least severity that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


KAFKA_CLIENT = "librdkafka"
"""Logger that confluent-kafka's clients are told to use."""

# During an outage these say the same many times a second.
_REPETITIVE = ("aiokafka", KAFKA_CLIENT, "streams.control_topic", "streams.ingest", "streams.state")
_AGAIN_AFTER_S = 30.0
_REMEMBERED = 1000

# Libraries whose "info" tells of their own workings, not of ours.
_CHATTY = (KAFKA_CLIENT, "aiokafka", "faust", "mode", "asyncio", "urllib3")

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class TextFormatter(logging.Formatter):
    """Time, level, logger, message; line breaks escaped, so that one record is one line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line = f"{_time(record)} {record.levelname.lower():<7} {record.name}: {record.getMessage()}"
        if record.exc_info:
            line = f"{line} | {self.formatException(record.exc_info)}"
        return _one_line(line)


class JsonFormatter(logging.Formatter):
    """One JSON object per line: `ts`, `level`, `logger`, `event`, and whatever `extra` was given."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        fields: dict[str, object] = {
            "ts": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        fields.update({name: value for name, value in vars(record).items() if name not in _STANDARD})
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False, default=str)


class OncePerWhile(logging.Filter):
    """Lets a recurring message of the Kafka clients through once per half minute, with how often it came.

    Messages that differ only in numbers (ports, times, offsets) count as the same.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write the record."""
        if not record.name.startswith(_REPETITIVE):
            return True
        said = record.getMessage()
        key = (record.name, said.translate(_WITHOUT_DIGITS))
        written, held_back = self._seen.get(key, (-_AGAIN_AFTER_S, 0))
        if record.created - written < _AGAIN_AFTER_S:
            self._seen[key] = (written, held_back + 1)
            return False
        if len(self._seen) >= _REMEMBERED:
            self._seen.clear()
        self._seen[key] = (record.created, 0)
        if held_back:
            record.msg, record.args = f"{said} ({held_back} more like this)", ()
        return True


_WITHOUT_DIGITS = str.maketrans("", "", "0123456789")


def _time(record: logging.LogRecord) -> str:
    at = dt.datetime.fromtimestamp(record.created, dt.UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _one_line(text: str) -> str:
    return text.replace("\r", "\\r").replace("\n", "\\n")


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stderr` is at the time: whoever replaces it leaves no closed file behind."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, _: TextIO) -> None:
        raise AttributeError("always sys.stderr")


def setup(level: LogLevel = LogLevel.INFO, form: LogFormat = LogFormat.TEXT) -> None:
    """Send the logs of this process to standard error; replaces an earlier set-up."""
    handler = _StandardError()
    handler.setFormatter(JsonFormatter() if form is LogFormat.JSON else TextFormatter())
    handler.addFilter(OncePerWhile())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    quiet = logging.NOTSET if level is LogLevel.DEBUG else logging.WARNING
    for name in _CHATTY:
        logging.getLogger(name).setLevel(quiet)
