"""Runs the tests of `rehearsed.py`, in a process of their own."""

from pathlib import Path

import pytest

from tests.fixtures.copies import begun

HERE = Path(__file__).resolve().parent


def rehearsed() -> int:
    """Runs them here."""
    return pytest.main(["-n", "0", "-q", "-p", "no:cacheprovider", "--durations=30", str(HERE / "rehearsed.py")])


@pytest.mark.timeout(600)  # half a minute where nothing else runs
@pytest.mark.usefixtures("copied")
def test_all_that_computes_runs_on_a_device_that_is_not_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Autograd makes its queues at the first backward pass of a process, for the devices that it knows then.
    monkeypatch.chdir(HERE.parent)
    child = begun(rehearsed, said=tmp_path / "said")
    child.join()
    told = (tmp_path / "said").read_text()
    assert child.exitcode == 0, told[-6000:]
    assert "[100%]" in told
