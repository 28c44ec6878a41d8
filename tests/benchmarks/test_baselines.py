"""Each baseline's score rises with what it measures, and all of them keep the same contract."""

import math

import numpy as np
import pytest

from benchmarks.baselines import (
    BASELINES,
    HOUR_MS,
    CoverageCost,
    HalfSpaceTrees,
    MmdWindow,
    Prada,
    RateLimit,
    Seat,
    TwoSided,
    UniquePrompts,
    looks_reached,
    sketches,
)
from detectors.calibration import LOOKS
from detectors.observation import COVERAGE_BUCKETS, SKETCH_DIMENSIONS, Observation

MINUTE = HOUR_MS // 60
NEEDS_REFERENCE = {"SEAT", "MMD window", "half-space trees", "PRADA, two-sided", "coverage cost, two-sided"}


def packed(vectors):
    """Sketches in an observation's encoding."""
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return [row.tobytes() for row in np.rint(units * 127).astype(np.int8)]


def around(rng, count, spread, centre=0):
    """Sketches at about `spread` from one of the axes."""
    vectors = rng.normal(0, spread, (count, SKETCH_DIMENSIONS)) / math.sqrt(SKETCH_DIMENSIONS)
    vectors[:, centre] += 1
    return packed(vectors)


def account(count, seed=0, *, given=None, **fields):
    """`count` exchanges, an hour and a bit apart; a field given as a function gets the exchange's place."""
    rng = np.random.default_rng(seed)
    drawn = given or around(rng, count, 1.0)
    form = rng.uniform(0.3, 0.6, (count, 6)).tolist()
    return [
        Observation("a", f"e{at}")._replace(
            **{
                "time_ms": at * (HOUR_MS + MINUTE),
                "prompt": at + 1,
                "bucket": int(rng.integers(COVERAGE_BUCKETS)),
                "sketch": drawn[at],
                "chars": int(rng.integers(50, 500)),
                "entropy": 4 + form[at][0],
                **dict(zip(("compression", "digits", "capitals", "symbols"), form[at][1:], strict=False)),
                "newlines": form[at][5],
                **{name: value(at) if callable(value) else value for name, value in fields.items()},
            }
        )
        for at in range(count)
    ]


@pytest.fixture(scope="module")
def reference():
    return [account(64, seed) for seed in range(100, 130)]


def fitted(make, reference):
    baseline = make()
    baseline.fit(reference)
    return baseline


def last(baseline, exchanges):
    return baseline.scores(exchanges)[-1]


@pytest.mark.parametrize("make", BASELINES, ids=lambda make: make().name)
class TestContract:
    """What the evaluation relies on, of each."""

    @pytest.mark.parametrize("count", [0, 7, 8, 70, LOOKS[-1] + 5])
    def test_one_finite_score_per_look(self, make, reference, count):
        found = fitted(make, reference).scores(account(count))
        assert len(found) == sum(look <= count for look in LOOKS)
        assert all(isinstance(score, float) and math.isfinite(score) for score in found)

    def test_later_exchanges_leave_earlier_scores(self, make, reference):
        baseline, exchanges = fitted(make, reference), account(130, 3)
        assert baseline.scores(exchanges)[:5] == pytest.approx(baseline.scores(exchanges[:32]))

    def test_same_input_same_scores(self, make, reference):
        exchanges = account(70, 4)
        assert fitted(make, reference).scores(exchanges) == fitted(make, reference).scores(exchanges)

    @pytest.mark.parametrize(
        "exchanges",
        [
            [Observation("a", f"e{at}") for at in range(40)],
            account(40, given=around(np.random.default_rng(1), 1, 1.0) * 40),
        ],
        ids=["every field absent", "one sketch"],
    )
    def test_degenerate_accounts_score_finite(self, make, reference, exchanges):
        assert all(map(math.isfinite, fitted(make, reference).scores(exchanges)))
        assert all(map(math.isfinite, fitted(make, [exchanges] * 12).scores(account(40))))

    @pytest.mark.parametrize("empty", [[], [[]]], ids=["no account", "no exchange"])
    def test_empty_reference(self, make, empty):
        baseline = make()
        if baseline.name in NEEDS_REFERENCE:
            with pytest.raises(ValueError, match="reference"):
                baseline.fit(empty)
            with pytest.raises(ValueError, match="fit"):
                baseline.scores(account(8))
        else:
            baseline.fit(empty)
            assert len(baseline.scores(account(8))) == 1


def test_names_differ_and_sources_are_given():
    made = [make() for make in BASELINES]
    assert len({each.name for each in made}) == len(made) == 7
    assert all(each.source for each in made)
    assert {each.name for each in made} >= NEEDS_REFERENCE


def test_looks_reached_ends_with_the_window():
    assert looks_reached(account(7)) == []
    assert looks_reached(account(17)) == [8, 12, 16]
    assert looks_reached(account(LOOKS[-1] + 1)) == list(LOOKS)


def test_sketches_have_unit_length_and_stay_zero_without_words():
    vectors = sketches([Observation("a", "e"), *account(3)])
    assert vectors.shape == (4, SKETCH_DIMENSIONS)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([0, 1, 1, 1], abs=1e-6)


@pytest.mark.parametrize(
    ("times", "expected", "why"),
    [
        (lambda at: at * HOUR_MS, [1, 1], "an hour is half open"),
        (lambda at: at * HOUR_MS // 4, [4, 4], "steady pace"),
        (
            lambda at: at * HOUR_MS if at < 8 else 8 * HOUR_MS + at,
            [1, 4],
            "a burst counts from when it comes",
        ),
        (lambda at: -at * HOUR_MS // 4, [4, 4], "late events count in the hour they are from"),
    ],
)
def test_rate_limit(times, expected, why):
    assert RateLimit().scores(account(12, time_ms=times)) == expected, why


def test_unique_prompts_counts_distinct_present_prompts():
    assert UniquePrompts().scores(account(12)) == [8, 12]
    assert UniquePrompts().scores(account(12, prompt=lambda at: at % 5)) == [4, 4]


def test_prada_rises_when_distances_have_two_modes():
    rng = np.random.default_rng(5)
    natural = account(96, given=around(rng, 96, 1.0))
    far, near = around(rng, 48, 1.0), around(rng, 1, 1.0)[0]
    mixed = account(96, given=[each for one in far for each in (one, near)])
    assert last(Prada(), mixed) > last(Prada(), natural) + 0.1
    assert Prada().scores(account(16, given=far[:1] * 16)) == [1.0, 1.0, 1.0]


def test_prada_leaves_out_a_lone_outlier():
    rng = np.random.default_rng(6)
    given = around(rng, 96, 0.5)
    odd = [*given[:50], *around(rng, 1, 0.01, centre=9), *given[51:]]
    assert last(Prada(), account(96, given=odd)) == pytest.approx(
        last(Prada(), account(96, given=given)), abs=0.02
    )


def test_seat_rises_with_the_share_of_variants(reference):
    seat = fitted(Seat, reference)
    rng = np.random.default_rng(7)
    seeds = [around(rng, 64, 1.0), around(rng, 1, 1.0) * 64]
    found = [
        last(seat, account(64, given=[seeds[at % 64 < varied][at] for at in range(64)]))
        for varied in (0, 16, 32, 64)
    ]
    assert found == sorted(found)
    assert found[0] < 0.5 < found[-1] == 63 / 64


def test_seat_forgets_prompts_beyond_its_memory(reference):
    seat = fitted(Seat, reference)
    axes = np.eye(SKETCH_DIMENSIONS)
    once, fill = packed(axes[:1])[0], [bytes(SKETCH_DIMENSIONS)]
    for gap, close in ((Seat.memory, 1), (Seat.memory + 1, 0)):
        given = [once, *fill * (gap - 1), once, *fill * (383 - gap)]
        assert last(seat, account(384, given=given)) == close / 384


def test_coverage_cost_rises_with_occupied_buckets_faster_than_they_do():
    few, more, most = (
        last(CoverageCost(), account(1024, bucket=lambda at, kinds=kinds: at % kinds))
        for kinds in (256, 512, 1024)
    )
    assert 0 < few < more < most
    assert more > 2 * few
    assert most > 2 * more


def test_mmd_rises_with_the_share_of_foreign_prompts(reference):
    mmd = fitted(MmdWindow, reference)
    rng = np.random.default_rng(8)
    own, foreign = around(rng, 128, 1.0), around(rng, 128, 1.0, centre=1)
    found = [
        last(mmd, account(128, given=[(foreign if at % 4 < quarter else own)[at] for at in range(128)]))
        for quarter in (0, 1, 2, 4)
    ]
    assert found == sorted(found)
    assert abs(found[0]) < 0.02 < found[-1]


def test_mmd_of_ordinary_accounts_does_not_depend_on_length(reference):
    mmd = fitted(MmdWindow, reference)
    found = np.array([mmd.scores(account(128, seed)) for seed in range(40)])
    assert np.abs(found.mean(axis=0)).max() < 0.01
    assert found[:, 0].std() > found[:, -1].std()


def test_half_space_trees_rise_with_the_share_of_odd_exchanges(reference):
    trees = fitted(HalfSpaceTrees, reference)
    found = [
        last(trees, account(64, 9, digits=lambda at, odd=odd: 0.95 if at % 4 < odd else 0.45))
        for odd in (0, 2, 4)
    ]
    assert found[0] < found[1] < found[2]


def test_half_space_trees_weigh_read_exchanges_by_those_they_stand_for(reference):
    """The second half of an account counts as a half, though fewer of its exchanges are read."""
    trees = fitted(HalfSpaceTrees, reference)
    plain = last(trees, account(1024, 9, digits=0.45))
    odd = last(trees, account(1024, 9, digits=0.95))
    half = last(trees, account(1024, 9, digits=lambda at: 0.95 if at >= 512 else 0.45))
    assert (half - plain) / (odd - plain) == pytest.approx(0.5, abs=0.1)


def test_two_sided_rises_in_both_directions():
    spread = [account(8, bucket=lambda at, kinds=kinds: at % kinds) for kinds in (3, 4, 5) for _ in range(4)]
    both = fitted(lambda: TwoSided(CoverageCost()), spread)
    scores = [both.scores(account(8, bucket=lambda at, kinds=kinds: at % kinds))[0] for kinds in range(1, 9)]
    assert min(scores) == scores[3] == 0.0, "four buckets are the median"
    assert scores[:4] == sorted(scores[:4], reverse=True)
    assert scores[3:] == sorted(scores[3:])
    assert len({*scores[:2]}) == 2, "scores do not tie below all ordinary accounts"
    assert len({*scores[5:]}) == 3, "nor above them"


def test_two_sided_repeats_its_score_where_no_reference_reaches(reference):
    both = fitted(lambda: TwoSided(CoverageCost()), reference)
    found = both.scores(account(200, bucket=lambda at: at % 60))
    assert len(found) == 10
    assert len({*found[LOOKS.index(64) :]}) == 1
    assert len({*found[: LOOKS.index(64) + 1]}) > 1


def test_two_sided_needs_enough_accounts(reference):
    with pytest.raises(ValueError, match="give at least 10"):
        TwoSided(Prada()).fit(reference[:9])
