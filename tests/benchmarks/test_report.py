"""The page of figures: whole, self-contained, well-formed, the same bytes for the same figures."""

import random
import re
from html.parser import HTMLParser

import pytest

from benchmarks.ablation import ablation, signs
from benchmarks.baselines import BASELINES
from benchmarks.figures import figures
from benchmarks.judging import Fold, Judged
from benchmarks.report import page
from detectors.calibration import LOOKS
from detectors.fitting import Trajectory
from detectors.registry import ENTRIES, Ceilings

SETTINGS = ("benign", "known kind", "kind never seen", "mixture 50%")
VOID = {"meta", "br", "use", "path", "rect", "line"}


def scores(rng, lift):
    return tuple(rng.random() + (lift if at % 2 else 0.0) for at in range(len(ENTRIES)))


def judged(setting, source, seed, lift):
    rng = random.Random(f"{setting}/{source}/{seed}")
    raw = tuple(scores(rng, lift) for _ in LOOKS)
    shares = tuple(10 ** -(rng.random() + lift) for _ in LOOKS)
    of = (max(shares), *(rng.random() for _ in BASELINES))
    return Judged(setting, "kind <&>", source, shares, of, raw)


@pytest.fixture(scope="module")
def accounts():
    return [
        judged(setting, f"{setting}-{source}", seed, 0.0 if setting == "benign" else 2.0 + source)
        for setting in SETTINGS
        for source in range(2)
        for seed in range(8)
    ]


@pytest.fixture(scope="module")
def fold():
    rng = random.Random(3)
    return Fold(Ceilings(), [Trajectory(str(at % 3), [scores(rng, 0.0) for _ in LOOKS]) for at in range(40)])


class Balanced(HTMLParser):
    """Fails on tags that are closed in another order than they were opened."""

    def __init__(self):
        super().__init__()
        self.open = []
        self.seen = set()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.add(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


def whole(accounts, fold):
    result = {"seed": 1, "scale": 0.5, **figures(accounts)}
    result["ablation"] = ablation(accounts, [fold], lambda _: None)
    result["signs"] = signs(accounts)
    return result


def test_the_page_is_whole_and_needs_nothing_else(accounts, fold):
    text = page(whole(accounts, fold), 0.001)
    parser = Balanced()
    parser.feed(text)
    assert not parser.open
    assert {"svg", "table", "figure"} <= parser.seen
    assert text.count("<figure>") == 4
    assert "kind &lt;&amp;&gt;" in text
    assert "kind <&>" not in text
    # Namespaces of SVG are names; nothing is to be fetched.
    assert not re.search(r"<script|@import|<link|\bsrc=|href=\"(?!#)", text)
    assert "nan" not in re.findall(r"<td[^>]*>([^<]*)</td>", text)


def test_the_same_figures_give_the_same_bytes(accounts, fold):
    assert page(whole(accounts, fold), 0.001) == page(whole(accounts, fold), 0.001)


def test_the_page_does_without_an_ablation(accounts):
    text = page({"seed": 1, "scale": 0.5, **figures(accounts)}, 0.01)
    assert "What each detector adds" not in text


def test_detectors_that_tell_accounts_apart_are_missed_and_found_alone(accounts, fold):
    rows = {row["set"]: row for row in ablation(accounts, [fold], lambda _: None)}
    assert len(rows) == 1 + 2 * len(ENTRIES)
    telling, idle = ENTRIES[3].spec.id, ENTRIES[2].spec.id
    assert rows[f"only {telling}"]["known kind"]["0.01"] > rows[f"only {idle}"]["known kind"]["0.01"]


def test_signs_say_which_detectors_score_a_kind_higher(accounts):
    rows = signs(accounts)
    for place, row in enumerate(rows):
        (area,) = row["kinds"].values()
        assert area == pytest.approx(1.0 if place % 2 else 0.5, abs=0.2)
