"""The false-alarm statement: tables, tails, what accounts ever reach, and strict reading of profiles."""

import itertools
import json
import math
import random

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.calibration import (
    EVER_LEVELS,
    LEVELS,
    LOOKS,
    SMALLEST_P,
    WEIGHTS,
    Profile,
    Table,
    evidence_of,
    placed,
    read,
)
from detectors.checks import ordinary
from detectors.errors import ConfigError
from detectors.fitting import Trajectory, _ever, ceilings, fit, trajectory
from detectors.registry import ENTRIES
from tests.detectors.reference_accounts import (
    PROVENANCE,
    fit_small,
    fitted_ceilings,
    null_profile,
    scores_of,
    small_profile,
)

SPECS = {entry.spec.id: entry.spec for entry in ENTRIES}


def share_ever(profile, scores):
    """The smallest share that an account with these scores gets within its window."""
    return min(
        profile.share_reaching(evidence_of([one.weight for one in read(profile, look, row)]))
        for look, row in enumerate(scores)
    )


def expected_flagged(accounts, budget):
    """Range of flagged accounts: reference and fresh accounts are samples of the same size."""
    slack = 3 * math.sqrt(2 * budget * (1 - budget) * accounts)
    return budget * accounts - slack, budget * accounts + slack


@pytest.mark.parametrize("draw", [lambda rng: rng.gauss(0, 1), lambda rng: rng.expovariate(1)])
@pytest.mark.parametrize("budget", [0.05, 0.2])
def test_null_accounts_are_flagged_as_often_as_the_budget_says(draw, budget):
    """Fifteen looks, nine detectors, two sides: of fresh ordinary accounts the budget is flagged."""
    profile = null_profile(600, seed=1, draw=draw)
    rng = random.Random(2)
    shares = [share_ever(profile, scores_of(lambda: draw(rng)).scores) for _ in range(600)]
    low, high = expected_flagged(600, budget)
    assert low <= sum(share <= budget for share in shares) <= high


def test_dependent_detectors_do_not_spoil_the_statement():
    """Nine times the same score: surprises are added up, but the reference has added them up, too."""
    rng = random.Random(3)

    def same():
        return [[score] * len(ENTRIES) for score in (rng.gauss(0, 1) for _ in LOOKS)]

    reference = [Trajectory(str(at % 10), same()) for at in range(600)]
    profile = fit(reference, fitted_ceilings(), version="same", provenance=PROVENANCE)
    flagged = sum(share_ever(profile, same()) <= 0.1 for _ in range(600))
    low, high = expected_flagged(600, 0.1)
    assert low <= flagged <= high


def test_short_accounts_neither_dilute_nor_inflate():
    rng = np.random.RandomState(4)
    whole = rng.random_sample((400, len(LOOKS)))
    short = rng.random_sample((400, len(LOOKS)))
    short[:, 3:] = np.nan
    alone, mixed = _ever(whole), _ever(np.concatenate((whole, short)))
    assert mixed.evidence == pytest.approx(alone.evidence, abs=0.02)
    # The median of the largest of 15; counted as whole ones, short accounts would pull it to about 0.9.
    assert mixed.evidence[0] == pytest.approx(0.5 ** (1 / 15), abs=0.02)


def test_a_tail_is_never_thinner_than_its_farthest_account():
    evidence = np.random.RandomState(5).exponential(size=(500, 1))
    evidence[0] = 60.0
    profile = msgspec.structs.replace(small_profile(), ever=_ever(evidence))
    assert profile.share_reaching(60.0) >= 1 / 500 - 1e-6


@given(a=st.floats(-1, 40), b=st.floats(-1, 40))
def test_more_evidence_is_never_more_common(a, b):
    profile = small_profile()
    low, high = sorted((a, b))
    assert SMALLEST_P <= profile.share_reaching(high) <= profile.share_reaching(low) <= 1


@pytest.mark.parametrize("detector", sorted(SPECS))
@given(a=st.floats(-20, 20), b=st.floats(-20, 20), look=st.integers(0, len(LOOKS) - 1))
def test_surprise_grows_towards_either_tail(detector, a, b, look):
    profile = small_profile()
    low, high = sorted((a, b))
    below, above = profile.surprise(detector, look, low), profile.surprise(detector, look, high)
    assert above[1] >= below[1] >= 0
    assert below[0] >= above[0] >= 0


@pytest.mark.parametrize(
    ("score", "low", "high", "why"),
    [
        (5.0, 0.301, 0.301, "the median: half are above and half below"),
        (-1.0, 1.301 + 0.434, 0.0, "one scale below the lowest twentieth"),
        (11.0, 0.0, 1.301 + 0.434, "one scale above the highest twentieth"),
        (0.0, 1.301, 0.0, "the lowest twentieth"),
        (9.5, 0.034, 1.125, "between two levels"),
    ],
)
def test_places_in_a_table(score, low, high, why):
    table = Table(100, tuple(float(n) for n in range(len(LEVELS))), 1.0, 1.0)
    tables = msgspec.structs.replace(small_profile().detectors["entropy"], looks=(table,))
    profile = msgspec.structs.replace(small_profile(), detectors={"entropy": tables})
    assert profile.surprise("entropy", 0, score) == pytest.approx((low, high), abs=0.01), why


def test_reaching_what_most_accounts_have_is_no_feat():
    table = Table(100, (0.0,) * 10 + (1.0,), 1.0, 1.0)
    assert placed(SPECS["elicitation"], table, 0.0) == (0.0, True)


def test_where_all_accounts_abstain_nothing_is_surprising():
    table = Table(0, (0.0,) * len(LEVELS), 1.0, 1.0)
    assert placed(SPECS["elicitation"], table, 1e6)[0] == 0
    assert placed(SPECS["coverage"], table, -1e6)[0] == 0


def test_evidence_takes_the_largest_surprises_with_falling_weights():
    assert evidence_of([1.0, 4.0, 2.0, 3.0]) == 4 * WEIGHTS[0] + 3 * WEIGHTS[1] + 2 * WEIGHTS[2]
    assert evidence_of([2.0]) == 2.0
    assert evidence_of([]) == 0


def test_a_fit_is_the_same_every_time_and_survives_its_file():
    assert fit_small().encode() == small_profile().encode()
    assert Profile.decode(small_profile().encode()).encode() == small_profile().encode()


def test_too_few_accounts_are_refused():
    rng = random.Random(1)
    few = [scores_of(rng.random) for _ in range(30)] + [scores_of(rng.random, looks=3) for _ in range(100)]
    fit(few, fitted_ceilings(), version="v", provenance=PROVENANCE)
    with pytest.raises(ConfigError, match="at least 20 accounts"):
        fit(few[15:], fitted_ceilings(), version="v", provenance=PROVENANCE)
    with pytest.raises(ConfigError, match="exchanges"):
        ceilings([])


def test_a_trajectory_ends_with_its_window_and_has_every_look_reached():
    counts = {n: len(trajectory("g", ordinary(1, n), fitted_ceilings()).scores) for n in (7, 8, 100, 1100)}
    assert counts == {7: 0, 8: 1, 100: 8, 1100: len(LOOKS)}


def changed(path, value):
    """The small profile's document with one value replaced or, for KeyError, left out."""
    document = json.loads(small_profile().encode())
    where = document
    for step in path[:-1]:
        where = where[step]
    if value is KeyError:
        del where[path[-1]]
    else:
        where[path[-1]] = value
    return json.dumps(document).encode()


NOBODY = {"version": 1, "looks": [], "unfamiliar": {"quantiles": [], "scale": 1}}


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (["format"], 3, "format 3"),
        (["version"], "", "`version`"),
        (["looks"], [8, 16], "`looks`"),
        (["levels"], [0.5], "`levels`"),
        (["ever_levels"], [0.5], "`ever_levels`"),
        (["surprise"], 1, "unknown field"),
        (["ceilings", "probing"], [0.5], "ceilings must be 8"),
        (["ceilings", "elicitation", 0], 0.0, "ceilings must be 8"),
        (["detectors", "coverage"], KeyError, "`coverage` is missing"),
        (["detectors", "telepathy"], NOBODY, "unknown"),
        (["detectors", "coverage", "version"], 99, "version 99"),
        (["detectors", "coverage", "looks"], [], "one table per look"),
        (["detectors", "coverage", "looks", 0, "quantiles", 0], 1e9, "ascending"),
        (["detectors", "coverage", "looks", 0, "high_scale"], 0, "ascending"),
        (["detectors", "coverage", "looks", 0, "low_scale"], -1, "ascending"),
        (["detectors", "coverage", "unfamiliar", "scale"], 0, "unfamiliar"),
        (["ever", "evidence"], [3, 2, 1], "`ever`"),
        (["ever", "scale"], 0, "`ever`"),
        (["ever", "scale"], "1", "Expected"),
        (["provenance"], KeyError, "missing required field"),
    ],
)
def test_profiles_are_read_strictly(path, value, said):
    with pytest.raises(ConfigError, match=said):
        Profile.decode(changed(path, value))


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"\xff", b"{" * 5000, b'{"format": NaN}'])
def test_what_is_no_profile_is_refused(data):
    with pytest.raises(ConfigError, match="profile"):
        Profile.decode(data)


def test_all_that_is_wrong_is_said_at_once():
    document = json.loads(small_profile().encode())
    document["version"], document["looks"] = "", [1]
    with pytest.raises(ConfigError, match=r"`version`.*`looks`"):
        Profile.decode(json.dumps(document).encode())


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.json"):
        Profile.load(tmp_path / "nowhere.json")


def test_the_shipped_profile_knows_enough_accounts():
    profile = Profile.load_default()
    assert profile.version.startswith("default-")
    assert all(table.accounts >= 100 for table in profile.detectors["coverage"].looks)
    assert sum(source.accounts for source in profile.provenance.sources) == profile.ever.accounts
    assert all(source.licence for source in profile.provenance.sources)
    assert profile.share_reaching(profile.ever.evidence[-1]) == EVER_LEVELS[-1]
    assert all(a <= b for a, b in itertools.pairwise(profile.ever.evidence))
