"""Fitting a profile to one's own traffic: repeatable, bounded in what one organisation can do, checked."""

import json
import random

import pytest
from typer.testing import CliRunner

from detectors import checks
from detectors.calibration import Profile
from detectors.errors import ConfigError
from streams import cli
from streams.fitting import FEWEST, fit_own
from streams.simulate import BuiltinPrompts, SimulationSpec, compose, labels_csv

BASE = Profile.load_default()


def people(count, *, start=0, change=lambda seen, _: seen):
    """Ordinary accounts of 40 to 160 exchanges."""
    found = {}
    for seed in range(start, start + count):
        length = random.Random(f"length/{seed}").randrange(40, 160)
        name = f"account-{seed}"
        found[name] = [
            change(seen._replace(account=name, organisation=seed + 1, network=seed + 1), seed)
            for seen in checks.ordinary(seed, length)
        ]
    return found


def graders(count, organisation):
    marked = {"marks": checks.mark("grading"), "purpose": checks.purpose(*([90] * 8))}
    return people(
        count, start=10_000, change=lambda seen, _: seen._replace(organisation=organisation, **marked)
    )


def own(accounts, **options):
    return fit_own(accounts, BASE, name="own", budget=0.01, **options)


@pytest.fixture(scope="module")
def clean():
    return own(people(260))


def test_a_profile_of_own_accounts_is_whole_and_keeps_what_only_the_base_knows(clean):
    again = Profile.decode(clean.profile.encode())
    assert again == clean.profile
    assert (again.version, clean.accounts) == ("own", clean.profile.ever.accounts)
    assert again.purposes == BASE.purposes
    assert again.pools == BASE.pools
    # Nobody has 1,024 exchanges here, so nothing is said of that look but what the base says.
    assert again.detectors["coverage"].looks[-1] == BASE.detectors["coverage"].looks[-1]
    assert again.detectors["coverage"].looks[2] != BASE.detectors["coverage"].looks[2]
    limits = zip(again.ceilings.purpose, BASE.ceilings.purpose, strict=True)
    assert all(mine >= theirs for mine, theirs in limits)
    assert clean.low <= 0.02


def test_the_same_accounts_in_any_order_give_the_same_bytes(clean):
    shuffled = list(people(260).items())
    random.Random(3).shuffle(shuffled)
    assert own(dict(shuffled)).profile.encode() == clean.profile.encode()


def test_one_organisation_cannot_make_its_graders_ordinary(clean):
    poisoned = own({**people(260), **graders(200, organisation=77)})
    assert poisoned.left_out["more than a tenth from one organisation or network"] > 140
    grading = poisoned.profile.ceilings.elicitation[2]
    unlimited = own({**people(260), **graders(200, organisation=0)}).profile.ceilings.elicitation[2]
    assert grading <= unlimited
    labelled = own({**people(260), **graders(200, organisation=77)}, not_ordinary=list(graders(200, 77)))
    assert labelled.left_out["labelled extraction"] == 200
    assert labelled.profile.encode() == clean.profile.encode()


def test_too_few_accounts_are_refused_with_the_number():
    with pytest.raises(ConfigError, match=rf"50 ordinary accounts .* {FEWEST} are needed"):
        own(people(50))


def test_the_command_fits_says_how_it_went_and_replay_uses_it(tmp_path):
    spec = SimulationSpec(accounts=300, days=5, exchanges=25, extraction_share=0.03, seed=4)
    traffic = compose(spec, BuiltinPrompts())
    lines = [json.dumps(event, default=str) for event in traffic]
    (tmp_path / "a.jsonl").write_text("\n".join(lines[: len(lines) // 2]) + "\n")
    (tmp_path / "b.jsonl").write_text("\n".join(lines[len(lines) // 2 :]) + "\n")
    (tmp_path / "labels.csv").write_text(labels_csv(traffic.labels))

    def run(*arguments, **env):
        return CliRunner().invoke(cli.build(), [str(one) for one in arguments], env=env)

    files = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for out, order in (("p.json", files), ("q.json", files[::-1])):
        done = run("fit", *order, "--labels", tmp_path / "labels.csv", "--out", tmp_path / out)
        assert done.exit_code == 0, done.output
        assert "labelled extraction" in done.output
        assert "are flagged at a budget of 0.10%" in done.output
    assert (tmp_path / "p.json").read_bytes() == (tmp_path / "q.json").read_bytes()
    used = run(
        "replay",
        *files,
        "--alerts",
        tmp_path / "alerts.jsonl",
        EXTRACTION_DETECTION__PROFILE=str(tmp_path / "p.json"),
        EXTRACTION_DETECTION__BUDGET="0.2",
    )
    assert used.exit_code == 0, used.output
    alerts = [json.loads(line) for line in (tmp_path / "alerts.jsonl").read_text().splitlines()]
    assert alerts
    assert {alert["detector_version"].partition("+")[2] for alert in alerts} == {"profile.own-1"}
    (tmp_path / "few.jsonl").write_text("\n".join(lines[:300]) + "\n")
    few = run("fit", tmp_path / "few.jsonl", "--out", tmp_path / "r.json")
    assert few.exit_code == 2, few.output
    assert f"{FEWEST} are needed" in few.output
    assert run("fit", *files, "--out", tmp_path / "missing" / "p.json").exit_code == 2
