"""The notebooks of the docs run from their first cell to their last, offline, on fewer prompts."""

import runpy
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / ".docs" / "notebooks"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_runs_as_it_is_written(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LITETEXT_NOTEBOOK_PROMPTS", "300")
    monkeypatch.setenv("LITETEXT_NOTEBOOK_EPOCHS", "1")
    monkeypatch.setattr(sys, "argv", [str(path)])
    runpy.run_path(str(path))
    told = capsys.readouterr().out
    if path.stem == "distil_and_segment":
        assert Path("found/predictions.json").is_file()
        assert "teacher: " in told
        assert "student: " in told
    else:
        assert "context length: " in told
        assert Path("audit/report.html").is_file()


def test_there_are_two_and_the_docs_lead_to_them() -> None:
    names = sorted(path.stem for path in FOLDER.glob("*.py"))
    assert names == ["audit_your_prompts", "distil_and_segment"]
    nav = (FOLDER.parent / "mkdocs.yml").read_text()
    assert all(f"notebooks/{name}.md" in nav for name in names)
