"""How detection is measured: what is composed, and how what was judged becomes figures."""

import gzip
import itertools
import json

import pytest

from benchmarks.baselines import BASELINES
from benchmarks.composition import FOLDS, harness, loop, mixed, read_sources
from benchmarks.figures import compare, figures, found_at
from benchmarks.judging import Judged
from detectors.calibration import LOOKS


def judged(setting, source, shares, score=0.0):
    scores = (score,) + (0.0,) * len(BASELINES)
    return Judged(setting, "class", source, tuple(shares), scores)


def row_of(result, setting, source=""):
    wanted = [
        row
        for row in result["rows"]
        if (row["setting"], row["source"]) == (setting, source) and (source or not row["class"])
    ]
    assert len(wanted) == 1
    return wanted[0]


def test_an_account_is_found_at_the_first_look_within_the_budget():
    one = judged("known kind", "a", [0.5, 0.003, 0.0005, 0.5])
    assert found_at(one, 0.01) == LOOKS[1]
    assert found_at(one, 0.001) == LOOKS[2]
    assert found_at(one, 0.0001) is None


def test_figures_count_accounts_by_setting_and_by_source():
    result = figures(
        [
            judged("known kind", "a", [0.5, 0.0001]),
            judged("known kind", "a", [0.5, 0.5]),
            judged("known kind", "b", [0.0001], score=4.0),
            judged("benign", "c", [0.002]),
        ]
    )
    whole = row_of(result, "known kind")["at"]["0.001"]
    assert whole["flagged"] == 2
    assert whole["by"]["20"] == pytest.approx(2 / 3)
    assert whole["low"] < 2 / 3 < whole["high"]
    assert row_of(result, "benign")["at"]["0.001"]["flagged"] == 0
    assert row_of(result, "benign")["at"]["0.003"]["flagged"] == 1
    # Of two sources, one half found and one all: three quarters, however many accounts each has.
    assert result["by_source"]["known kind"]["0.001"] == pytest.approx(0.75)


def test_methods_are_compared_where_each_flags_as_many_ordinary_accounts():
    ordinary = [judged("benign", "c", [1.0], score=number / 100) for number in range(100)]
    attacks = [judged("known kind", "a", [1.0], score=score) for score in (0.5, 0.97, 2.0, 3.0)]
    ours, *others = compare([*ordinary, *attacks])
    assert ours["0.01"] == pytest.approx(0.5)  # one in a hundred may lie above: 0.98 is the threshold
    assert ours["0.05"] == pytest.approx(0.75)
    # A method that tells nothing apart finds nothing, not everything.
    assert [row["0.05"] for row in others] == [0.0] * len(BASELINES)


def test_sources_of_a_kind_part_company(tmp_path):
    with gzip.open(tmp_path / "part.jsonl.gz", "wt") as out:
        for number in range(2 * FOLDS):
            row = {"source": f"s{number}", "label": "benign", "kind": "human_chat", "text": "hello"}
            out.write(json.dumps(row) + "\n")
    folds = [source.fold for source in read_sources(tmp_path)]
    assert sorted(folds) == sorted([*range(FOLDS)] * 2)


def test_a_harness_sends_the_same_few_dozen_items_over_and_over():
    items = [f"item {number}" for number in range(200)]
    change = harness(items)
    sent = [change("one", number, "own") for number in range(120)]
    assert len(set(sent)) == 40
    assert sent[:40] == sent[40:80]
    other = harness(items)
    assert [other("one", number, "own") for number in range(120)] == sent


def test_a_loop_sends_each_accounts_first_prompt():
    change = loop()
    assert [change(account, 0, text) for account, text in (("a", "x"), ("b", "y"), ("a", "z"))] == [
        "x",
        "y",
        "x",
    ]


@pytest.mark.parametrize("share", [0.05, 0.25, 0.5])
def test_a_mixture_has_its_share_of_next_items_and_keeps_the_rest(share):
    items = [f"item {number}" for number in range(50)]
    change = mixed(share, items)
    sent = [change("one", number, "own") for number in range(4000)]
    taken = [items.index(text) for text in sent if text != "own"]
    assert len(taken) / len(sent) == pytest.approx(share, abs=0.03)
    assert all((after - before) % 50 == 1 for before, after in itertools.pairwise(taken))
