"""The dashboard: current, complete, drawn from metrics that there are, by queries that Prometheus accepts."""

import itertools
import json

import pytest
import yaml

import deploy.__main__ as generator
from deploy import dashboard
from tests.deploy.test_rules import BY_PROMETHEUS, RECORDED, exported, used
from tests.deploy.tools import DEPLOY, run, said, tool

__all__ = ["exported"]  # a fixture

BOARD = json.loads(dashboard.text())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]


@pytest.mark.parametrize("name", generator.FILES)
def test_generated_files_are_current(name):
    """Otherwise: `make docs`."""
    assert (DEPLOY / name).read_text() == generator.FILES[name]()


def test_panels_use_only_metrics_that_there_are(exported):
    for expression in EXPRESSIONS:
        assert used(expression), expression
        assert used(expression) <= exported.keys() | RECORDED.keys() | BY_PROMETHEUS, expression


def test_every_metric_of_ours_is_on_the_dashboard_or_in_a_recorded_series_of_it(exported):
    shown = set().union(*map(used, EXPRESSIONS))
    shown |= set().union(*(used(RECORDED[name]["expr"]) for name in shown & RECORDED.keys()))
    bare = {name.removesuffix("_bucket").removesuffix("_count") for name in shown}
    ours = {name for name in exported if name.startswith("extraction_")}
    missing = {
        name
        for name in ours
        if name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum") not in bare
    }
    assert not missing


def test_what_the_person_on_call_asks_has_a_row():
    rows = [panel["title"] for panel in BOARD["panels"] if panel["type"] == "row"]
    assert rows == ["Now", "Attack", "Traffic", "Lag", "Reference", "Health"]


def test_panels_have_ids_of_their_own_and_do_not_overlap():
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken = [
        cell
        for panel in BOARD["panels"]
        for place in [panel["gridPos"]]
        for cell in itertools.product(
            range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        )
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < dashboard.WIDTH


def test_queries_obey_the_choice_of_source_and_deployment():
    for panel in PANELS:
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}"
            assert 'job=~"$job"' in target["expr"]
    assert [variable["name"] for variable in BOARD["templating"]["list"]] == ["datasource", "job"]


def test_prometheus_accepts_every_query(tmp_path):
    rules = [
        {"record": f"query:number_{number}", "expr": expression.replace("$__rate_interval", "5m")}
        for number, expression in enumerate(EXPRESSIONS)
    ]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    done = run(tool("promtool"), "check", "rules", path)
    assert done.returncode == 0, said(done)
    assert f"{len(EXPRESSIONS)} rules found" in said(done)
