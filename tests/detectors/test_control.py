"""Control records: what is refused and why, and what holds when, whatever order they come in."""

import datetime as dt
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.control import Control, Register, Subject
from detectors.errors import ConfigError

HOUR = 3_600_000
ABSENT = object()
ALLOW = {
    "schema": "extraction.control/1",
    "kind": "allow",
    "subject": {"type": "account", "id": "acct_1"},
    "owner": "ada",
    "reason": "load test",
    "time": "2026-03-01T00:00:00Z",
    "expires": "2026-03-02T00:00:00Z",
}


def document(**changes):
    return json.dumps({k: v for k, v in {**ALLOW, **changes}.items() if v is not ABSENT}).encode()


def at(ms):
    return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(milliseconds=ms)


def record(kind="allow", time=0, expires=HOUR, account="a", alert_kind=None, label=None, reason="r"):
    return Control(
        schema="extraction.control/1",
        kind=kind,
        subject=Subject("account", account),
        owner="o",
        reason=reason,
        time=at(time),
        expires=None if expires is None else at(expires),
        alert_kind=alert_kind,
        label=label,
    )


def register(*records, **options):
    made = Register(**options)
    for one in records:
        made.apply(one)
    return made


# -- records ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"kind": "suppress", "alert_kind": "benchmark_sweep"},
        {"kind": "label", "label": "ordinary", "expires": ABSENT},
        {"kind": "ban", "expires": ABSENT},
        {"kind": "ban"},
        {"time": "2026-03-01T14:00:00+14:00"},
        {"time": "0001-01-01T00:00:00+14:00", "expires": "9999-12-31T23:59:59-12:00"},
        {"subject": {"type": "account", "id": "with:colons/and späces"}},
        {"ticket": "a field of a later minor version"},
    ],
    ids=str,
)
def test_a_record_comes_back_from_its_document(changes):
    made = Control.decode(document(**changes))
    assert Control.decode(made.encode()) == made
    register(made)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "truncated"),
        (b"\xff\xfe", "malformed"),
        (b"[" * 100_000, "Expected `object`"),
        (b"[]", "Expected `object`"),
        (document(schema="extraction.control/2"), "extraction.control/2"),
        (document(schema=ABSENT), "missing required field `schema`"),
        (document(kind="release"), "release"),
        (document(subject={"type": "campaign", "id": "c"}), "campaign"),
        (document(subject={"type": "account", "id": 1}), "$.subject.id"),
        (document(subject={"type": "account", "id": ""}), "`subject.id` must have 1 to 1024"),
        (document(subject={"type": "account", "id": "\ud800"}), "malformed"),
        (document(owner=" "), "`owner` must have 1 to 1024"),
        (document(reason="x" * 1025), "`reason` must have 1 to 1024"),
        (document(time="yesterday"), "$.time"),
        (document(time=0), "$.time"),
        (document(time="2026-03-01T00:00:00"), "`time` must have an offset"),
        (document(expires="2026-03-02T00:00:00"), "`expires` must have an offset"),
        (document(expires=ABSENT), "`allow` must have `expires`"),
        (document(kind="suppress", alert_kind="high_entropy", expires=None), "`suppress` must have `exp"),
        (document(kind="suppress"), "`suppress`, and nothing else, must have `alert_kind`"),
        (document(alert_kind="high_entropy"), "`suppress`, and nothing else, must have `alert_kind`"),
        (document(kind="suppress", alert_kind="weather"), "`alert_kind` must be one of coverage_seeking"),
        (document(kind="label"), "`label`, and nothing else, must have `label`"),
        (document(label="ordinary"), "`label`, and nothing else, must have `label`"),
        (document(kind="label", label="benign"), "benign"),
    ],
)
def test_what_is_no_record_is_refused_with_the_reason(data, says):
    with pytest.raises(ConfigError) as refused:
        Control.decode(data)
    assert says in str(refused.value)


def test_everything_that_is_wrong_is_named_at_once():
    with pytest.raises(ConfigError) as refused:
        Control.decode(document(owner="", reason="", expires=ABSENT, label="ordinary"))
    assert all(f"`{name}`" in str(refused.value) for name in ("owner", "reason", "expires", "label"))


def test_texts_that_no_document_can_hold_are_refused():
    with pytest.raises(ConfigError, match="Unicode"):
        record(account="\udcff").encode()


def test_records_about_different_things_have_different_keys():
    keys = [
        record().key,
        record("ban").key,
        record("label", label="ordinary").key,
        record(account="b").key,
        record("suppress", alert_kind="high_entropy").key,
        record("suppress", alert_kind="benchmark_sweep").key,
        record(account="high_entropy:account:a").key,
    ]
    assert len(set(keys)) == len(keys)
    assert record(time=5, reason="again").key == record().key


# -- what holds when -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("records", "at_ms", "said", "why"),
    [
        ([], 0, None, "nothing was decided"),
        ([record()], -1, None, "before it was decided"),
        ([record()], 0, "allow", "from its time"),
        ([record()], HOUR - 1, "allow", "until it expires"),
        ([record()], HOUR, None, "not when it expires"),
        ([record(account="b")], 0, None, "another account"),
        ([record("suppress", alert_kind="high_entropy")], 0, "suppress", "this kind"),
        ([record("suppress", alert_kind="benchmark_sweep")], 0, None, "another kind"),
        ([record("suppress", alert_kind="high_entropy"), record()], 0, "allow", "the wider one is named"),
        ([record("label", label="ordinary")], 0, None, "a label never silences"),
        ([record("ban")], 0, None, "a ban never silences"),
        ([record(), record(time=10, expires=10)], 9, "allow", "lifted later"),
        ([record(), record(time=10, expires=10)], 10, None, "lifted: it expires when it is made"),
        ([record(), record(time=10, expires=-5)], 10, None, "lifted: it expired before it was made"),
        ([record(), record(time=10, expires=20)], 30, None, "shortened: the later one holds"),
        ([record(), record(time=10, expires=2 * HOUR)], HOUR, "allow", "prolonged"),
        ([record(), record(time=10, expires=10), record(time=20)], 20, "allow", "allowed again"),
        ([record("suppress", time=5, expires=5, alert_kind="high_entropy"), record()], 6, "allow", "apart"),
    ],
)
def test_what_silences_when(records, at_ms, said, why):
    assert register(*records).silences("a", "high_entropy", at_ms) == said, why
    assert register(*reversed(records)).silences("a", "high_entropy", at_ms) == said, why


def test_the_last_label_before_an_exchange_holds():
    made = register(
        record("label", 10, None, label="extraction"),
        record("label", 20, None, label="ordinary"),
        record("label", 30, 40, label="extraction"),
    )
    found = [made.label("a", at_ms) for at_ms in (9, 10, 19, 20, 29, 30, 39, 40)]
    e, o = "extraction", "ordinary"
    assert found == [None, e, e, o, o, e, e, None]


_small = st.integers(0, 6)
_records = st.lists(
    st.one_of(
        st.builds(
            record,
            time=_small,
            expires=_small,
            account=st.sampled_from("ab"),
            reason=st.sampled_from("rs"),
        ),
        st.builds(
            record,
            st.just("suppress"),
            time=_small,
            expires=_small,
            alert_kind=st.sampled_from(["high_entropy", "benchmark_sweep"]),
        ),
        st.builds(
            record,
            st.just("label"),
            time=_small,
            expires=st.none() | _small,
            label=st.sampled_from(["extraction", "ordinary"]),
        ),
    ),
    min_size=1,
    max_size=12,
)


def answers(made, since=-1):
    return [
        (
            at_ms,
            account,
            made.label(account, at_ms),
            *(made.silences(account, kind, at_ms) for kind in ("high_entropy", "benchmark_sweep")),
        )
        for at_ms in range(since, 8)
        for account in "ab"
    ]


@given(_records, st.data())
def test_the_order_of_arrival_and_repeats_change_nothing(records, data):
    again = data.draw(st.lists(st.sampled_from(records)))
    shuffled = data.draw(st.permutations(records + again))
    made = register(*records)
    assert len(made) == len({one.encode() for one in records})
    assert answers(register(*shuffled)) == answers(made)


@given(_records, _small)
def test_forgetting_what_has_ended_changes_no_later_answer(records, at_ms):
    made = register(*records)
    expected, held = answers(made, at_ms), len(made)
    assert held - made.forget_before(at_ms) == len(made)
    assert answers(made, at_ms) == expected
    assert made.forget_before(at_ms) == 0


def test_forgetting_a_key_forgets_its_records_only():
    made = register(record(), record(time=5), record(account="b"))
    made.forget(record().key)
    made.forget("never heard of")
    assert len(made) == 1
    assert made.silences("a", "high_entropy", 6) is None
    assert made.silences("b", "high_entropy", 6) == "allow"


def test_a_full_register_refuses_and_still_answers():
    made = register(record(), record(account="b"), most=2)
    made.apply(record())  # held already
    with pytest.raises(ConfigError, match="2 records are held"):
        made.apply(record(account="c"))
    assert len(made) == 2
    assert [made.silences(account, "high_entropy", 0) for account in "abc"] == ["allow", "allow", None]
    made.forget_before(HOUR)
    made.apply(record(account="c"))
    assert made.silences("c", "high_entropy", 0) == "allow"


@pytest.mark.parametrize(
    ("records", "found"),
    [
        ([], False),
        ([record("ban", expires=None)], True),
        ([record("label", label="extraction", expires=None)], True),
        ([record("label", label="ordinary", expires=None), record("ban", expires=None)], False),
        ([record("label", label="extraction", expires=None, account="b")], False),
        ([record()], False),
    ],
)
def test_what_learns_from_accounts_leaves_out_those_found_extracting(records, found):
    assert register(*records).found_extracting("a") == found
