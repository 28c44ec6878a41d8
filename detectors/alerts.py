"""The alert, as `contracts/alert.schema.json` has it."""

import msgspec


class Subject(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whom an alert is about."""

    type: str
    id: str
    accounts: list[str] | None = None
    account_count: int | None = None
    links: list[dict[str, object]] | None = None


class Signal(msgspec.Struct, frozen=True):
    """One detector's part in an alert."""

    name: str
    value: float
    typical: float
    p_value: float | None
    contribution: float
    explanation: str


class Position(msgspec.Struct, frozen=True):
    """Where events can be read again."""

    topic: str
    partition: int
    first_offset: int
    last_offset: int


class Evidence(msgspec.Struct, frozen=True):
    """What an alert rests on."""

    event_count: int
    first_time: str
    last_time: str
    event_ids: list[str]
    positions: list[Position]


class Alert(msgspec.Struct, frozen=True, tag_field="schema", tag="extraction.alert/1"):
    """One finding about one account or campaign; its id is a function of input and configuration alone."""

    alert_id: str
    time: str
    subject: Subject
    kind: str
    severity: str
    score: float
    signals: list[Signal]
    evidence: Evidence
    recommended_action: str
    technique: str
    detector_version: str
    config_hash: str
