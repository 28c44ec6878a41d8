"""Layers import in one direction only, and the detection layer touches nothing outside itself."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DETECTORS = sorted((ROOT / "detectors").rglob("*.py"))
STREAMS = sorted((ROOT / "streams").rglob("*.py"))

# What each part of `detectors` may import of it: only what stands left.
ORDER = (
    {"detectors.errors", "detectors.events", "detectors.observation", "detectors.alerts"},
    {"detectors.observe"},
    {"detectors.base"},
    {"detectors.primitives"},
    {"detectors.catalog"},
    {"detectors.registry"},
    {"detectors.calibration"},
    {"detectors.fitting", "detectors.evidence", "detectors.learning"},
    {"detectors.policy"},
    {"detectors.campaigns"},
    {"detectors.engine", "detectors.campaign", "detectors.control"},
    {"detectors.checks"},
)
OUTSIDE = {"msgspec", "numpy", "river", "xxhash", "zstandard"}
# Learning weights is done before anything is detected; reading with them is one sparse product.
SCIENTIFIC = {
    "detectors/learning.py": {"scipy", "sklearn"},
    "detectors/observe/purpose.py": {"scipy"},
}
IMPURE = {
    "asyncio", "ctypes", "http", "io", "logging", "multiprocessing", "os", "pickle", "marshal", "shelve",
    "secrets", "select", "shutil", "signal", "socket", "subprocess", "sys", "tempfile", "threading", "time",
    "urllib", "gzip", "sqlite3", "concurrent",
}  # fmt: skip
# The profile is read at start-up, when nothing is being detected yet.
READS_FILES = {"detectors/calibration.py": {"read_bytes"}, "detectors/observe/marks.py": {"read_text"}}
FAUST_FREE = {"streams/replay.py", "streams/shard.py", "streams/offline.py", "streams/profile.py"}


def tree(path):
    return ast.parse(path.read_text("utf-8"), str(path))


def imports(path, *, at_import=False):
    """Full names of the modules that a file imports, wherever in it, or only when it is imported itself."""
    found = set()
    for node in tree(path).body if at_import else ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def name(path):
    return str(path.relative_to(ROOT))


def rank(module):
    for place, parts in enumerate(ORDER):
        if any(module == part or module.startswith(part + ".") for part in parts):
            return place
    return None


def module_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", DETECTORS, ids=name)
def test_detectors_import_only_what_stands_left(path):
    own = rank(module_of(path))
    for module in imports(path):
        top = module.split(".")[0]
        assert top != "streams", f"{module}: the detection layer must not know of the streams"
        if top == "detectors" and own is not None and module != "detectors.__version__":
            other = rank(module)
            assert other is not None, f"{module} has no place in ORDER"
            assert other <= own, f"{module} stands right of {module_of(path)}"


@pytest.mark.parametrize("path", DETECTORS, ids=name)
def test_detectors_use_pure_libraries_only(path):
    import sys

    for module in imports(path):
        top = module.split(".")[0]
        allowed = (
            top in OUTSIDE | SCIENTIFIC.get(name(path), set())
            or top == "detectors"
            or (top in sys.stdlib_module_names and top not in IMPURE)
        )
        assert allowed, f"{module} does input, output, time or threads, or is a new dependency"


@pytest.mark.parametrize("path", DETECTORS, ids=name)
def test_detectors_read_no_clock_no_file_and_no_global_randomness(path):
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Name):
                assert called.id not in {"open", "input", "print", "eval", "exec", "__import__", "hash"}, (
                    called.id
                )
            if isinstance(called, ast.Attribute):
                assert called.attr not in {"now", "utcnow", "today", "monotonic", "perf_counter"}, called.attr
                if called.attr in {"read_bytes", "read_text", "write_bytes", "write_text", "open"}:
                    assert called.attr in READS_FILES.get(name(path), set()), called.attr
                if isinstance(called.value, ast.Name) and called.value.id == "random":
                    assert called.attr == "Random", f"random.{called.attr} draws from global state"
                if called.attr == "Random":
                    assert node.args, "a generator without a seed"
                assert called.attr not in {"default_rng", "RandomState"}, "NumPy randomness has no place here"


def test_only_checks_may_draw_random_numbers():
    drawing = {name(path) for path in DETECTORS if "random" in imports(path)}
    assert drawing <= {"detectors/checks.py"}


@pytest.mark.parametrize("path", [p for p in STREAMS if name(p) in FAUST_FREE], ids=name)
def test_replay_runs_without_faust(path):
    assert not {module for module in imports(path) if module.split(".")[0] in {"faust", "mode", "aiokafka"}}


def test_nothing_that_replay_imports_imports_faust():
    known = {module_of(path): path for path in STREAMS + DETECTORS}
    waiting, seen = ["streams.replay", "streams.shard"], set()
    while waiting:
        module = waiting.pop()
        if module in seen or module not in known:
            continue
        seen.add(module)
        # At import only: what a function imports when it is called is its caller's choice.
        for one in imports(known[module], at_import=True):
            assert one.split(".")[0] not in {"faust", "mode"}, f"{module} imports {one}"
            waiting += [one, one.rpartition(".")[0]]
    assert "detectors.engine" in seen


@pytest.mark.parametrize("path", [*DETECTORS, *STREAMS], ids=name)
def test_nothing_is_pickled(path):
    assert not {"pickle", "marshal", "shelve", "dill"} & {module.split(".")[0] for module in imports(path)}
