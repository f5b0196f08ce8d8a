"""Runs the tests of `rehearsed.py`, in a process of their own."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@pytest.mark.timeout(600)  # a minute where nothing else runs
def test_all_that_computes_runs_on_a_device_that_is_not_the_cpu() -> None:
    # Autograd makes its queues at the first backward pass of a process, for the devices that it knows then.
    words = ["-m", "pytest", "-n", "0", "-q", "-p", "no:cacheprovider", str(HERE / "rehearsed.py")]
    done = subprocess.run([sys.executable, *words], cwd=HERE.parent, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stdout[-6000:]
    assert "[100%]" in done.stdout
