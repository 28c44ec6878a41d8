"""Campaigns: pools with members in common are one, whatever the order in which alerts come."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.alerts import Alert, Evidence, Signal, Subject
from detectors.campaigns import join


def alert(
    number, link, members, *, exchanges=100, severity="medium", kind="coordinated_campaign", signal="purpose"
):
    time = f"2026-03-01T{number:02}:00:00.000Z"
    return Alert(
        alert_id=f"alert-{number}",
        time=time,
        subject=Subject(
            "campaign" if kind == "coordinated_campaign" else "account",
            link,
            accounts=list(members),
            account_count=len(members),
            links=[{"kind": link.split(":")[0], "value": link.split(":")[1], "exchanges": exchanges}],
        ),
        kind=kind,
        severity=severity,
        score=0.9995,
        signals=[Signal(signal, 1.0, 0.0, 0.001, 3.0, "so")],
        evidence=Evidence(100, time, time, [], []),
        recommended_action="review",
        technique="AML.T0024",
        detector_version="1",
        config_hash="c",
    )


CARD = alert(1, "payment:aa", ["a", "b", "c", "d", "e", "f"], exchanges=60)
DEVICE = alert(2, "device:bb", ["c", "d", "e", "f"], exchanges=40, severity="high", signal="elicitation")
OTHER = alert(3, "payment:cc", ["x", "y", "z", "w"], exchanges=30)


def test_pools_with_half_their_members_in_common_are_one_campaign():
    first, second = join([OTHER, DEVICE, CARD])
    assert first.members == ["a", "b", "c", "d", "e", "f"]
    assert [(link.kind, link.exchanges, link.alerts) for link in first.links] == [
        ("payment", 60, 1),
        ("device", 40, 1),
    ]
    assert (first.exchanges, first.severity, first.signals) == (60, "high", ["elicitation", "purpose"])
    assert first.alert_ids == ["alert-1", "alert-2"]
    assert second.members == ["w", "x", "y", "z"]


@pytest.mark.parametrize(
    ("members", "joined", "why"),
    [
        (["c", "d", "y", "z"], True, "two in common, half of the smaller pool"),
        (["c", "x", "y", "z"], False, "one account may have two customers"),
        (["c", "d", "x", "y", "z"], False, "less than half of the smaller one"),
        (["c"], False, "one member is never enough"),
    ],
)
def test_how_much_must_be_common(members, joined, why):
    assert (len(join([CARD, alert(5, "network:dd", members)])) == 1) == joined, why


def test_a_chain_of_pools_is_one_campaign():
    between = alert(4, "network:dd", ["e", "f", "x", "y"])
    assert len(join([CARD, OTHER, between])) == 1


def test_a_campaign_keeps_its_id_while_it_grows():
    before = join([CARD])[0]
    later = alert(6, "payment:aa", ["f", "g", "h", "i"], exchanges=90)
    after = join([later, DEVICE, CARD])[0]
    assert after.id == before.id
    assert after.members == ["a", "b", "c", "d", "e", "f", "g", "h", "i"]
    assert after.exchanges == 90


def test_alerts_about_accounts_are_passed_over():
    assert join([alert(1, "account:a", ["a"], kind="high_entropy")]) == []
    assert join([]) == []


def test_one_member_of_a_hundred_pools_ties_nothing_together():
    pools = [
        alert(1, f"network:{number}", ["everywhere", "also", f"m{number}", f"n{number}"])
        for number in range(100)
    ]
    numbered = [msgspec.structs.replace(one, alert_id=str(at)) for at, one in enumerate(pools)]
    assert len(join(numbered)) == 100


@given(
    st.permutations(
        [CARD, DEVICE, OTHER, *(alert(n, f"network:{n % 4}", "abcdefghij"[n : n + 4]) for n in range(7, 13))]
    ),
    st.lists(st.integers(0, 8), max_size=4),
)
def test_order_and_repeats_do_not_matter(alerts, repeated):
    expected = join(sorted(alerts, key=lambda one: one.alert_id))
    assert join([*alerts, *(alerts[at] for at in repeated)]) == expected
    members = [member for campaign in expected for member in campaign.members]
    assert sum(len(one.alert_ids) for one in expected) == len(alerts)
    assert set(members) == {member for one in alerts for member in one.subject.accounts}
