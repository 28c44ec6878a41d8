"""Accounts that repeat themselves send few different prompts, each as often, for as long as they live."""

import random
from collections import Counter, defaultdict

import pytest

from streams.simulate import BuiltinPrompts, Repeating, SimulationSpec, compose
from streams.simulate.source import CLASSES

SPEC = SimulationSpec(accounts=24, days=2, seed=5, extraction_share=0, exchanges=40, min_exchanges=20)


def sent(items):
    prompts = defaultdict(list)
    for event in compose(SPEC, Repeating(BuiltinPrompts(), items)):
        prompts[event["account_id"]].append(event["messages"][-1]["content"])
    return prompts


@pytest.mark.parametrize("items", [1, 3, 8])
def test_an_account_sends_so_many_prompts_over_and_over(items):
    prompts = sent((items,))
    assert len(prompts) == SPEC.accounts
    counts = [Counter(map(str, texts)) for texts in prompts.values()]
    assert max(map(len, counts)) == items
    for count in counts:
        if len(count) == items:  # a person may say the same twice in a conversation
            assert max(count.values()) - min(count.values()) <= 1


def test_accounts_differ_and_runs_do_not():
    prompts = sent((1, 4))
    assert len({str(texts[0]) for texts in prompts.values()}) > SPEC.accounts / 2
    assert prompts == sent((1, 4))


def test_it_has_the_classes_of_its_source_and_no_extraction():
    repeating = Repeating(BuiltinPrompts(), (1,))
    assert tuple(repeating.classes) == CLASSES
    assert not repeating.kinds
    with pytest.raises(ValueError, match="do not extract"):
        repeating.run().extraction("any", [1], random.Random(1))
