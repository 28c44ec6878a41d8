"""The image: checked by hadolint, built from the lock and files that there are, not run as root."""

import fnmatch
import re
import tomllib

from tests.deploy.tools import DEPLOY, ROOT, run, said, tool

DOCKERFILE = DEPLOY / "Dockerfile"
LINES = re.sub(r"\\\n", " ", DOCKERFILE.read_text()).splitlines()


def pins(path):
    """Package -> versions pinned in a lock."""
    found = {}
    for name, version in re.findall(r"^([A-Za-z0-9_.-]+)==([^ ;\\]+)", path.read_text(), re.M):
        found.setdefault(name, set()).add(version)
    return found


def instructions(name):
    return [line.split(maxsplit=1)[1] for line in LINES if line.startswith(f"{name} ")]


def test_hadolint_has_nothing_to_say():
    done = run(tool("hadolint"), DOCKERFILE)
    assert done.returncode == 0, said(done)


def test_hadolint_would_find_something(tmp_path):
    (tmp_path / "Dockerfile").write_text(DOCKERFILE.read_text().replace("WORKDIR /tmp", "WORKDIR tmp"))
    assert run(tool("hadolint"), tmp_path / "Dockerfile").returncode != 0


def test_it_does_not_run_as_root():
    user = instructions("USER")[-1]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    last_stage = LINES[max(i for i, line in enumerate(LINES) if line.startswith("FROM ")) :]
    assert not [line for line in last_stage if line.startswith("RUN ")], (
        "nothing is run as root in the final image"
    )


def test_what_is_copied_is_there_and_not_ignored():
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    kept = [line[1:] for line in ignore if line.startswith("!")]
    assert "*" in ignore
    copied = [word for line in instructions("COPY") if "--from" not in line for word in line.split()[:-1]]
    assert copied
    for source in copied:
        assert (ROOT / source).exists(), source
        assert any(fnmatch.fnmatch(source, pattern) for pattern in kept), source


def test_the_lock_of_the_image_is_part_of_the_main_one():
    image, main = pins(DEPLOY / "requirements.lock"), pins(ROOT / "requirements.lock")
    assert all(versions <= main.get(name, set()) for name, versions in image.items())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[^A-Za-z0-9-]", line)[0].lower() for line in project["dependencies"]}
    assert needed <= image.keys()
    development = {re.split(r"[^A-Za-z0-9-]", line)[0] for line in project["optional-dependencies"]["dev"]}
    assert not (development - needed - {"setuptools"}) & image.keys()


def test_installation_is_checked_and_nothing_compiled():
    (install,) = [line for line in instructions("RUN") if "requirements.lock" in line]
    assert "--require-hashes" in install
    assert "--only-binary :all:" in install
