"""What a command does not import before it begins; told by modules, since times differ from machine to machine."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from litetext.commands import stored_help
from litetext.commands.stored_help import show_help
from tests.fixtures.runs import Answer

HEAVY = ("torch", "lightning", "torchmetrics", "torchvision", "transformers", "scipy.signal")


def imported(body: str, **environment: str) -> dict[str, Any]:
    """Runs Python code in a process of its own; the JSON of its last line, with `heavy` for what it imported."""
    script = f"import json, sys\n{body}\n"
    script += f"heavy = [m for m in {HEAVY} if m in sys.modules]\n"
    script += "print(); print(json.dumps({'heavy': heavy, **globals().get('told', {})}))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_fit_begins_without_the_metrics_of_others_and_they_are_there_when_asked_for(folder: Path) -> None:
    # The last lines import all of torchmetrics: what was put off is whole, and the same classes.
    found = imported(
        "from litetext.cli import main\n"
        "assert main(['fit', '--config', 'tiny.yaml', '--print_config']) == 0\n"
        f"told = {{'before': [m for m in {HEAVY} if m in sys.modules]}}\n"
        "import torchmetrics\n"
        "few = torchmetrics.Metric\n"
        "assert torchmetrics.__version__ and not hasattr(torchmetrics, '__nothing__')\n"
        "from torchmetrics.classification import BinaryAccuracy\n"
        "assert torchmetrics.Metric is few and issubclass(BinaryAccuracy, few)\n"
        "assert issubclass(torchmetrics.Accuracy, few) and not hasattr(torchmetrics, 'nothing')\n"
        "assert 'AUROC' in dir(torchmetrics) and isinstance(torchmetrics.MeanMetric(), few)\n"
    )
    assert found["before"] == ["torch", "lightning", "torchmetrics"]


@pytest.mark.parametrize(
    ("case", "truth", "number"),
    [("case1", ["gt_a", "gt_b", "gt_c"], "cgF1"), ("video_synth", ["gt"], "demo_cgf1")],
)
def test_scoring_files_needs_no_torch(case: str, truth: list[str], number: str) -> None:
    files = Path(__file__).parent / "fixtures/oracle" / case
    gt = [str(files / f"{name}.json.gz") for name in truth]
    found = imported(
        "import io, contextlib\nfrom litetext.cli import main\nout = io.StringIO()\n"
        f"argv = ['score', '--gt', *{gt!r}, '--predictions', {str(files / 'pred.json.gz')!r}]\n"
        "with contextlib.redirect_stdout(out): code = main(argv)\n"
        "told = {'code': code, 'text': out.getvalue()}\n",
    )
    assert (found["heavy"], found["code"]) == ([], 0)
    assert number in found["text"]


def test_help_is_kept_and_given_again_without_lightning(
    tmp_path: Path, litetext: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_help, "_folder", lambda: tmp_path / "litetext" / "help")
    first = litetext("fit", "--help")
    assert first.code == 0
    assert "--trainer.max_epochs" in first.out
    found = imported(
        "import io, contextlib\nfrom litetext.cli import main\nout = io.StringIO()\n"
        "with contextlib.redirect_stdout(out): code = main(['fit', '-h'])\n"
        "told = {'code': code, 'text': out.getvalue()}\n",
        XDG_CACHE_HOME=str(tmp_path),
    )
    assert found == {"heavy": [], "code": 0, "text": first.out}


def test_help_is_built_anew_when_what_decides_it_has_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_help, "_folder", lambda: tmp_path / "help")
    built = []

    def build() -> int:
        built.append(1)
        print(f"usage: number {len(built)}")
        raise SystemExit(0)

    def ask(command: str = "fit") -> str:
        assert show_help(command, build) == 0
        return capsys.readouterr().out

    assert [ask(), ask()] == ["usage: number 1\n"] * 2
    assert ask("test") == "usage: number 2\n"
    monkeypatch.setenv("COLUMNS", "41")
    assert [ask(), ask()] == ["usage: number 3\n"] * 2
    monkeypatch.setattr(stored_help, "__file__", str(tmp_path / "litetext" / "commands" / "stored_help.py"))
    (tmp_path / "litetext").mkdir()
    assert ask() == "usage: number 4\n"
    (tmp_path / "litetext" / "new.py").write_text("x = 1\n")
    assert [ask(), ask()] == ["usage: number 5\n"] * 2
    (tmp_path / "help" / "fit.txt").write_bytes(b"\xff")
    assert ask() == "usage: number 6\n"
    monkeypatch.setattr(stored_help, "_folder", lambda: tmp_path / "litetext" / "new.py" / "help")  # no folder
    assert [ask(), ask()] == ["usage: number 7\n", "usage: number 8\n"]


def test_a_help_that_fails_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_help, "_folder", lambda: tmp_path / "help")

    def build() -> int:
        print("usage: half")
        raise SystemExit(2)

    assert show_help("fit", build) == 2
    assert not (tmp_path / "help").exists()
