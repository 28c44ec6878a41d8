"""Programs that check deployments: on the machine, in the virtual environment, or from `.ci/tools`."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"

_WHERE = os.pathsep.join(
    [str(ROOT / ".cache/tools/bin"), str(Path(sys.executable).parent), os.environ.get("PATH", "")]
)


def tool(*names: str) -> str:
    """Path of the first of these programs that is there; a skip, with the reason printed, where none is."""
    for name in names:
        found = shutil.which(name, path=_WHERE)
        if found:
            return found
    pytest.skip(f"{' or '.join(names)} is not installed; .ci/tools installs it where it can")


def run(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess:
    """Run a program to its end; the caller looks at what came out."""
    return subprocess.run(
        [str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False, timeout=120
    )


def said(done: subprocess.CompletedProcess) -> str:
    """Everything a program printed."""
    return done.stdout + done.stderr
