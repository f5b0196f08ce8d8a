"""What all tests share: no network, shapes of tensors checked, and a small world to distil in."""

import gc
import multiprocessing.context
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
# The models are tiny, and threads that wait spin. With two, sums have another order: the numbers must hold as well.
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = os.environ.get("LITETEXT_TEST_THREADS", "1")

import jaxtyping

# Must come before the first import of these rooms.
_hook = jaxtyping.install_import_hook(["litetext.losses", "litetext.models", "litetext.metrics"], "beartype.beartype")

import lightning.pytorch  # noqa: F401  # its log handler keeps the stream that it finds: not that of one test
import pytest
import yaml
from hypothesis import HealthCheck, settings

from litetext.cli import main
from tests.fixtures import copies
from tests.fixtures.runs import Answer, tiny_config

# A busy machine is no fault.
settings.register_profile("litetext", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("litetext")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Puts files of few tests first where processes share them: those have the long tests, which must not come last."""
    if hasattr(config, "workerinput"):
        sizes = Counter(item.path for item in items)
        items.sort(key=lambda item: (sizes[item.path], item.path))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Takes what is imported out of the search for garbage: a fit spends a quarter of its time there otherwise.

    Before anything is computed, it starts the server of copies, where a test asks for them.
    """
    asked = any("copied" in getattr(item, "fixturenames", ()) for item in session.items)
    if copies.CAN_COPY and asked and not session.config.option.collectonly:
        copies.start()
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def teacher_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny teacher with random weights that knows the whole vocabulary; 64 features a token."""
    from safetensors.torch import save_file

    from litetext.models.text.teacher import Sam3TextEncoder

    teacher = Sam3TextEncoder.random(0, embed_width=16, heads=1, layers=1, hidden=32, eot_width=8, width=64)
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    save_file(teacher.state_dict(), path)
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, teacher_file: Path) -> Path:
    """An empty working folder with `tiny.yaml` in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny_config(teacher_file)))
    return tmp_path


@pytest.fixture
def litetext(capfd: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Runs `litetext` in this process."""

    def run(*argv: str) -> Answer:
        capfd.readouterr()
        code = main(argv)
        out, err = capfd.readouterr()
        return Answer(code, out, err)

    return run


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that begin copies of this process; what asks `multiprocessing` to spawn gets such copies as well."""
    if not copies.CAN_COPY:
        pytest.skip("copies of a process")
    monkeypatch.setitem(multiprocessing.context._concrete_contexts, "spawn", copies.SERVER)  # type: ignore[attr-defined]


@pytest.fixture
def refused(litetext: Callable[..., Answer]) -> Callable[..., str]:
    """Runs a command that must end with exit code 2 and one line on stderr; gives that line."""

    def run(*argv: str) -> str:
        answer = litetext(*argv)
        lines = [line for line in answer.err.splitlines() if not line.removeprefix("INFO: ").startswith(_TALK)]
        assert answer.code == 2, answer
        assert len(lines) == 1, answer.err
        assert lines[0].startswith("litetext: error: "), answer.err
        assert "Traceback" not in answer.err
        return lines[0]

    return run


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """No check of types and shapes, as users run: wrong input reaches litetext's own messages."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


# Lightning's lines about seed and devices, ours about corpora and stores: said before a run fails.
_TALK = (
    *("Seed set to", "GPU available", "TPU available", "Restoring states from", "Restored all states from"),
    *("source ", "all ", "shapes ", "teacher features of"),
)
