"""A worker without a broker waits for it, says so, and ends when told to."""

import os
import signal
import subprocess
import sys

import pytest

COMMAND = [sys.executable, "-c", "from streams.cli import main; main()", "worker"]
NOWHERE = {
    "EXTRACTION_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:9",
    "EXTRACTION_METRICS__PORT": "0",
}


@pytest.mark.timeout(90)
def test_an_unreachable_broker_is_tried_again_without_a_traceback():
    worker = subprocess.Popen(
        COMMAND,
        env={**os.environ, **NOWHERE, "EXTRACTION_HASH_KEY": "sixteen bytes or more"},
        stderr=subprocess.PIPE,
        text=True,
    )
    said = []
    try:
        for line in worker.stderr:
            said.append(line)
            if "trying again in 2 s" in line:
                break
        worker.send_signal(signal.SIGTERM)
        said.append(worker.communicate(timeout=60)[1])
    finally:
        worker.kill()
    assert worker.returncode == 0
    assert sum("no Kafka broker answers at 127.0.0.1:9" in line for line in said) >= 2
    assert "Traceback" not in "".join(said)


def test_a_live_worker_needs_a_key():
    done = subprocess.run(
        COMMAND, env={**os.environ, **NOWHERE}, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert "hash_key" in done.stderr
    assert "openssl rand" in done.stderr
