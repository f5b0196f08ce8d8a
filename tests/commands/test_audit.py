import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from litetext.cli import main
from litetext.data.shapes.world import phrases

NAMES = ["white dog", "red car", "the old man", "green apple tree"]


@pytest.fixture
def corpora(folder: Path) -> Path:
    (folder / "shapes.txt").write_text("\n".join(phrases(60, 0)) + "\n")
    (folder / "names.txt").write_text("\n".join(NAMES) + "\n")
    return folder


def _audit(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "audit.json").read_text(), parse_constant=pytest.fail)


def test_an_audit_of_an_encoder_holds_every_part_and_its_plan_trains(
    corpora: Path, litetext: Callable[..., Any], teacher_file: Path
) -> None:
    asked = ["--prompts", "shapes=shapes.txt", "names=names.txt", "--encoder", str(teacher_file), "--sample", "40"]
    answer = litetext("audit", *asked, "--output", "out")
    assert answer.code == 0, answer.err
    found = _audit(corpora / "out")
    assert set(found) == {
        *("litetext", "contexts", "sources", "combined", "covered", "encoder", "spectra", "dimension", "order"),
        *("prescription", "failed"),
    }
    assert found["failed"] == {}
    for part in (*found["sources"].values(), found["combined"]):
        assert {"prompts", "unique", "mean_tokens", "histogram", "context", "vocabulary"} <= set(part)
        assert set(part["context"]) == {"8", "16", "32"}
        assert {"density", "padding", "truncation", "token_loss"} <= set(part["context"]["32"])
        assert {"used", "share", "top_100_share", "special_share"} <= set(part["vocabulary"])
    assert set(found["covered"]["names"]) >= {"shapes"}
    assert set(found["spectra"]) == {"token", "position"}
    assert set(found["dimension"]) == {"tokens", "pooled"}
    for words in ("Prompts", "Context", "Vocabulary", "Token embedding", "Dimension", "prescription.yaml"):
        assert words in answer.out
    assert (corpora / "out" / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert list((corpora / "out" / "tensorboard").glob("events.*"))
    plan = yaml.safe_load((corpora / "out" / "prescription.yaml").read_text())
    assert plan["model"]["init_args"]["teacher"] == str(teacher_file)
    quick = ["--trainer.max_steps", "1", "--trainer.enable_progress_bar", "false"]
    answer = litetext("fit", "--config", "out/prescription.yaml", *quick)
    assert answer.code == 0, answer.err


def test_a_config_says_the_same_as_options_and_options_win(corpora: Path, litetext: Callable[..., Any]) -> None:
    options = {"prompts": {"names": "names.txt", "shapes": "shapes.txt"}, "context_lengths": [4, 12], "budget": 0.2}
    (corpora / "mine.yaml").write_text(yaml.safe_dump({**options, "output": "a"}))
    assert litetext("audit", "--config", "mine.yaml").code == 0
    listed = ["--prompts", "names=names.txt", "--prompts", "shapes=shapes.txt", "--context_lengths", "4", "12"]
    assert litetext("audit", *listed, "--budget=0.2", "--output", "b").code == 0
    assert _audit(corpora / "a") == _audit(corpora / "b")
    assert litetext("audit", "--output", "c", "--budget", "0.1", "--config", "mine.yaml").code == 0
    assert _audit(corpora / "c")["prescription"]["budget"] == 0.1
    assert not {"encoder", "spectra", "robustness"} & set(_audit(corpora / "c"))


def test_a_missing_source_is_named_and_nothing_is_written(corpora: Path, refused: Callable[..., str]) -> None:
    line = refused("audit", "--prompts", "names=names.txt", "gone=nowhere.txt", "--output", "out")
    assert "'gone'" in line
    assert "nowhere.txt" in line
    assert not (corpora / "out").exists()


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--prompts", "names.txt"], "--prompts names.txt is no NAME=PATH; write names=names.txt"),
        (["--prompts", "a=names.txt", "a=shapes.txt"], "names 'a' twice"),
        (["--prompts", "--seed", "1"], "--prompts needs at least one NAME=PATH"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
        (["--prompts", "=names.txt"], "--prompts =names.txt is no NAME=PATH"),
        (["--prompts", "a=names.txt", "--context_lengths", "2"], "--context_lengths 2"),
        (["--prompts", "a=names.txt", "--budget", "2"], "--budget 2"),
        (["--prompts", "a=names.txt", "--noise", "-1"], "--noise -1"),
        (["--prompts", "a=names.txt", "--encoder", "nowhere.pt"], "nowhere.pt"),
    ],
)
def test_wrong_options_end_in_one_line(argv: list[str], told: str, corpora: Path, refused: Callable[..., str]) -> None:
    assert told in refused("audit", *argv, "--output", "out")


def test_an_earlier_audit_is_not_written_over(
    corpora: Path, litetext: Callable[..., Any], refused: Callable[..., str]
) -> None:
    asked = ("audit", "--prompts", "a=names.txt", "--output", "out")
    assert litetext(*asked).code == 0
    Path("out/mine.txt").write_text("kept")
    before = Path("out/audit.json").read_bytes()
    assert "--output out: out/audit.json is there already" in (line := refused(*asked, "--context_lengths", "8"))
    assert "--overwrite" in line
    assert Path("out/audit.json").read_bytes() == before
    assert litetext(*asked, "--context_lengths", "8", "--overwrite").code == 0
    assert Path("out/audit.json").read_bytes() != before
    assert Path("out/mine.txt").read_text() == "kept"


def test_output_must_not_be_a_file(corpora: Path, refused: Callable[..., str]) -> None:
    assert "--output names.txt is a file" in refused("audit", "--prompts", "a=names.txt", "--output", "names.txt")


def test_parts_that_fail_are_named_and_the_exit_code_is_0(corpora: Path, litetext: Callable[..., Any]) -> None:
    (corpora / "broken.pt").write_bytes(b"no weights")
    (corpora / "empty.txt").write_text("")
    asked = ["--prompts", "names=names.txt", "empty=empty.txt", "--encoder", "broken.pt", "--output", "out"]
    answer = litetext("audit", *asked)
    assert answer.code == 0
    lines = [line for line in answer.out.splitlines() if line.startswith("failed: ")]
    assert [line.split(":")[1].strip() for line in lines] == ["source empty", "encoder"]
    assert list(_audit(corpora / "out")["failed"]) == ["source empty", "encoder"]
    assert "Could not be made" in (corpora / "out" / "report.html").read_text()


def test_a_whole_sam3_is_followed_through_its_detector(corpora: Path, litetext: Callable[..., Any]) -> None:
    student = "checkpoints/student-tiny/student.ckpt"
    asked = ["--encoder", "checkpoints/sam3-tiny", "--student", student, "--noise", "0.1", "--sample", "20"]
    answer = litetext("audit", "--prompts", "names=names.txt", *asked, "--output", "out")
    assert answer.code == 0, answer.err
    found = _audit(corpora / "out")
    assert found["failed"] == {}
    assert list(found["robustness"]["noise"]) == ["0.1"]
    assert list(found["robustness"]["students"]) == [student]
    assert "student-tiny" in answer.out
    assert "Loading weights" not in answer.err


def test_the_shipped_config_is_understood(corpora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--config", "audit.yaml", "--output", "out", "--print_config"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["text_encoder"] == "checkpoints/sam3-nouns"
    assert shown["output"] == "out"


def test_what_is_to_be_typed_is_whole_at_80_columns(
    corpora: Path, litetext: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as in a terminal
    monkeypatch.setenv("COLUMNS", "80")
    output = "a rather/long folder of the results/of an audit of what people ask for"
    answer = litetext("audit", "--prompts", "names=names.txt", "--output", output)
    assert answer.code == 0, answer.err
    assert "…" not in answer.out
    commands = [
        line.split(None, 1)[1] for line in answer.out.splitlines() if line.startswith(("next ", "TensorBoard "))
    ]
    assert [shlex.split(command) for command in commands] == [
        ["tensorboard", "--logdir", f"{output}/tensorboard"],
        ["litetext", "fit", "--config", f"{output}/prescription.yaml"],
    ]
