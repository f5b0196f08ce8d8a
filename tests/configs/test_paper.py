"""configs/paper/: every file is one row of the paper's tables, parses as its command does, and holds what it says."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from litetext.shipped import config_names, config_path
from tests.fixtures.runs import Answer

LATER = [name for name in config_names() if name.startswith("paper/sam31_")]
NAMES = [name for name in config_names() if name.startswith("paper/") and name not in LATER]
TESTS = [name for name in NAMES if name.startswith("paper/table3_")]
FITS = [name for name in NAMES if name not in TESTS]
_bases: dict[tuple[str, ...], dict[str, Any]] = {}
_WEIGHTS = {"000": 0.0, "005": 0.05, "010": 0.1, "020": 0.2}


def parsed(litetext: Callable[..., Answer], *argv: str) -> dict[str, Any]:
    """The config that the command would run, all defaults filled in."""
    answer = litetext(*argv, "--print_config")
    assert answer.code == 0, answer.err
    return yaml.safe_load(answer.out)


def commands(name: str) -> list[list[str]]:
    """The commands in a config's comments."""
    text = re.sub(r"\s*\\\n#\s*", " ", config_path(name).read_text())
    return [line.split() for line in re.findall(r"^#\s+litetext (.*)$", text, flags=re.MULTILINE)]


@pytest.mark.parametrize(("student", "score"), [("s0", "54.26"), ("s1", "54.27"), ("l", "54.03")])
def test_rows_of_sam31_say_what_was_published(litetext: Callable[..., Answer], student: str, score: str) -> None:
    name = f"paper/sam31_{student}.yaml"
    assert name in LATER
    assert f"here {score}" in config_path(name).read_text()
    fit, test = commands(name)
    found = parsed(litetext, *test)
    assert found["model"]["init_args"]["sam3"] == "sam3.1_multiplex.pt"
    assert parsed(litetext, *fit)["model"]["init_args"]["teacher"] == "sam3.1_multiplex.pt"
    assert f"checkpoints/{fit[fit.index('--run') + 1]}/" in found["model"]["init_args"]["text_encoders"][student]


def test_every_row_has_a_file() -> None:
    rows = {"teacher", "s0", "s1", "l", "gdino_t", "owlv2", "llmdet_l"}
    assert {Path(name).stem.removeprefix("table3_") for name in TESTS} == rows
    assert {Path(name).stem for name in FITS} == {
        *("loss_mse", "loss_cosine", "loss_consistency", "context_8", "context_16", "context_32"),
        *(f"consistency_{student}_{weight}" for student in ("s0", "s1", "l") for weight in _WEIGHTS),
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_row_says_the_papers_numbers_and_its_commands(name: str) -> None:
    head, stem = config_path(name).read_text().split("model:")[0], Path(name).stem
    assert "# The paper: " in head
    *fits, test = commands(name)
    assert test[0] == "test"
    if name in TESTS:
        assert test[1:3] == ["--config", name]
        assert re.search(r"\d+\.\d / 0\.\d\d / \d+\.\d \(CG_F1 / IL_MCC / pmF1\)", head)
    else:
        (fit,) = fits
        assert fit[0] == "fit"
        assert fit[-2:] == ["--config", name]
        assert test[-2:] == [f"--model.text_encoders.{stem}", f"checkpoints/{stem}/best.ckpt"]


@pytest.mark.parametrize("name", TESTS)
def test_rows_of_table_3(name: str, litetext: Callable[..., Answer]) -> None:
    row, config = Path(name).stem.removeprefix("table3_"), parsed(litetext, "test", "--config", name)
    model = config["model"]["init_args"]
    assert config["data"]["init_args"]["subsets"] == "gold"
    assert config["trainer"]["use_distributed_sampler"] is False
    if row in ("teacher", "s0", "s1", "l"):
        assert (model["sam3"], model["teacher"], model["detectors"]) == ("facebook/sam3", True, None)
        expected = None if row == "teacher" else {row: f"checkpoints/{row}/best.ckpt"}
        assert model["text_encoders"] == expected
    else:
        assert (model["sam3"], model["teacher"], model["text_encoders"]) == (None, False, None)
        assert list(model["detectors"]) == [row]
        assert model["phrases_per_prompt"] == (1 if row == "owlv2" else 30)


@pytest.mark.parametrize("name", FITS)
def test_ablations_differ_from_their_student_in_what_they_name_alone(
    name: str, litetext: Callable[..., Answer]
) -> None:
    stem = Path(name).stem
    fit = commands(name)[0]
    config, student_config = parsed(litetext, *fit), tuple(fit[:-2])
    if student_config not in _bases:
        _bases[student_config] = parsed(litetext, *student_config)
    base = copy.deepcopy(_bases[student_config])
    assert config.pop("run") == stem
    base.pop("run")
    student = {"l": "l", "s1": "s1"}.get(stem.split("_")[1], "s0")
    assert base["model"]["init_args"]["student"]["init_args"]["preset"] == student
    model, data = base["model"]["init_args"], base["data"]["init_args"]
    assert (model["cosine_weight"], model["consistency_weight"]) == (2.0, 0.05 if student == "l" else 0.1)
    if stem.startswith("consistency"):
        model["consistency_weight"] = _WEIGHTS[stem[-3:]]
    elif stem.startswith("context"):
        length = int(stem.split("_")[1])
        data["context_length"] = model["student"]["init_args"]["context_length"] = length
    else:
        model["consistency_weight"] = 0.1 if stem == "loss_consistency" else 0.0
        model["cosine_weight"] = 0.0 if stem == "loss_mse" else 2.0
    assert config == base
