"""Layers import one way only, and detection touches no clock, file, environment or chance of its own."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DETECTORS = sorted((ROOT / "detectors").rglob("*.py"))
STREAMS = sorted((ROOT / "streams").rglob("*.py"))
ALLOWED = {"detectors", "msgspec", "numpy", "river", "xxhash", "zstandard"} | set(sys.stdlib_module_names)
FORBIDDEN_MODULES = {
    "time",
    "os",
    "threading",
    "logging",
    "socket",
    "subprocess",
    "asyncio",
    "pickle",
    "secrets",
}
FORBIDDEN_CALLS = {"open", "eval", "exec", "print", "input"}
WITHOUT_FAUST = (
    "shard",
    "offline",
    "replay",
    "intake",
    "packing",
    "ordering",
    "batches",
    "ingest",
    "evaluation",
)


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def named(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", DETECTORS, ids=named)
def test_detectors_are_pure(path):
    roots = {module.split(".")[0] for module in imports(path)}
    assert roots <= ALLOWED, f"{sorted(roots - ALLOWED)} must not be imported by detectors"
    assert not roots & FORBIDDEN_MODULES
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in FORBIDDEN_CALLS, f"line {node.lineno}: {node.func.id}()"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            used = (node.value.id, node.attr)
            assert used not in {("datetime", "now"), ("dt", "now"), ("np", "random")}, (
                f"line {node.lineno}: {used}"
            )
            assert node.value.id != "random" or node.attr in {"Random"}, (
                f"line {node.lineno}: module-level chance"
            )


@pytest.mark.parametrize("path", [*DETECTORS, *STREAMS], ids=named)
def test_nothing_is_unpickled(path):
    assert not {"pickle", "shelve", "marshal", "cloudpickle", "dill", "joblib"} & set(imports(path))


@pytest.mark.parametrize("name", WITHOUT_FAUST)
def test_replay_and_ingest_do_not_need_faust(name):
    seen, todo = set(), [f"streams.{name}"]
    while todo:
        module = todo.pop()
        if module in seen or not module.startswith("streams"):
            assert not module.startswith("faust"), f"streams.{name} imports Faust"
            continue
        seen.add(module)
        path = ROOT / Path(*module.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if path.exists():
            tree = ast.parse(path.read_text())
            # Imports inside functions are deliberate: they are paid for when used.
            top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
            for node in top:
                if isinstance(node, ast.ImportFrom) and node.module:
                    todo += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
                elif isinstance(node, ast.Import):
                    todo += [alias.name for alias in node.names]


def test_the_rules_catch_a_fault(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("import os\nimport confluent_kafka\n")
    assert set(imports(bad)) - ALLOWED == {"confluent_kafka"}
    assert set(imports(bad)) & FORBIDDEN_MODULES == {"os"}
