"""The demonstration runs on its embedded broker, ends by itself or on Ctrl-C, and leaves nothing running."""

import signal
import subprocess
import sys
import time

import psutil
import pytest

COMMAND = [sys.executable, "-c", "from streams.cli import main; main()", "demo"]

pytestmark = pytest.mark.timeout(120)


def test_ends_by_itself_and_says_what_was_found():
    done = subprocess.run(
        [*COMMAND, "--duration", "8", "--rate", "150"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "embedded broker" in done.stdout
    assert "/metrics" in done.stdout
    assert "extraction accounts; flagged" in done.stdout
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_it_cleanly():
    demo = subprocess.Popen(
        [*COMMAND, "--duration", "300"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        for line in demo.stdout:
            if "metrics at" in line:
                break
        family = psutil.Process(demo.pid).children(recursive=True)
        assert family, "the embedded broker runs in a process of its own"
        demo.send_signal(signal.SIGINT)
        _, said = demo.communicate(timeout=60)
    finally:
        demo.kill()
    assert "Traceback" not in said
    assert demo.returncode in (0, 130)
    deadline = time.monotonic() + 10
    while any(process.is_running() for process in family) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [process for process in family if process.is_running()]


def test_an_unreachable_broker_is_said_in_one_line():
    done = subprocess.run(
        [*COMMAND, "--duration", "5", "--bootstrap", "127.0.0.1:9"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "no Kafka broker answers at 127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr
