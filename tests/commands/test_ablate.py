"""`litetext ablate`: from variants and seeds to tables, trained once and gone on with."""

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from litetext.commands import lightning as lightning_cli
from litetext.commands.ablate import _content, fit_once
from litetext.commands.ablation_plan import arguments, read_plan
from litetext.commands.ablation_tables import COLUMNS
from litetext.commands.lightning import check
from litetext.shipped import config_path
from tests.fixtures.runs import Answer, tiny_config

ABLATE = ("ablate", "--config", "mine.yaml")
NUMBERS = Path("lightning_logs/mine/ablation.json")
MINE: dict[str, Any] = {
    "fit": "tiny.yaml",
    "test": "shapes.yaml",
    "seeds": [3],
    "options": {"trainer.max_epochs": 1, "model.student.layers": 0},
    "test_options": {"model.pictures": 0, "data.root": "shapes:1", "trainer.enable_progress_bar": False},
    "groups": {
        "losses": {"MSE": {"model.cosine_weight": 0, "model.consistency_weight": 0}, "all": {}},
        "weight": {0.1: {"model.init_args.consistency_weight": 0.1}},  # what `all` has
    },
}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, teacher_file: Path) -> Path:
    """A folder in which an ablation of two variants and one seed has ended."""
    from litetext.cli import main

    folder = tmp_path_factory.mktemp("ablation")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(tiny_config(teacher_file)))
    (folder / "mine.yaml").write_text(yaml.safe_dump(MINE))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([*ABLATE]) == 0
    return folder


@pytest.fixture
def again(done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder to work in."""
    folder = tmp_path / "again"
    shutil.copytree(done, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that an ablation runs."""
    calls: list[list[str]] = []
    run = lightning_cli.run

    def noted(command: str, argv: list[str]) -> int:
        calls.append([command, *argv])
        return run(command, argv)

    monkeypatch.setattr(lightning_cli, "run", noted)
    return calls


def test_equal_variants_are_trained_once_and_the_tables_are_those_of_the_runs(done: Path) -> None:
    numbers = json.loads((done / NUMBERS).read_text())
    assert len(numbers["runs"]) == 2
    assert len(list((done / "checkpoints/mine").glob("*/seed3/best.ckpt"))) == 2
    losses, weight = numbers["groups"]["losses"], numbers["groups"]["weight"]
    assert list(losses) == ["MSE", "all"]
    assert weight["0.1"] == losses["all"]
    gap = losses["MSE"]["difference"]
    assert gap["from"] == "all"
    for column in COLUMNS:  # of a single seed: no interval
        assert gap[column]["mean"] == pytest.approx(losses["MSE"][column]["mean"] - losses["all"][column]["mean"])
        assert gap[column]["low"] is None
    assert losses["MSE"]["variant"] != losses["all"]["variant"]
    results = json.loads((done / "lightning_logs/mine/results.json").read_text())["encoders"]
    assert numbers["teacher"] == results["teacher"]
    for part in losses.values():
        name = part["variant"]
        config = yaml.safe_load((done / "lightning_logs/mine" / name / "seed3/config.yaml").read_text())
        assert config["seed_everything"] == 3
        assert config["trainer"]["max_epochs"] == 1
        assert config["model"]["init_args"]["cosine_weight"] == (0 if "cosine" in name else 2)
        average, run = results[f"{name}-seed3"]["average"], numbers["runs"][name]["3"]
        assert {column: run[column] for column in average} == average
        scores = lightning_cli.read_checkpoint(str(done / run["checkpoint"]))["litetext"]["scores"]
        assert run["cosine"] == scores["cosine"]
        for column in COLUMNS:
            assert part[column] == {"mean": run[column], "sd": None, "min": run[column], "max": run[column]}
    assert "| MSE | " in (done / "lightning_logs/mine/ablation.md").read_text()


def test_an_ablation_goes_on_where_it_stopped(
    again: Path, commands: list[list[str]], litetext: Callable[..., Answer]
) -> None:
    before = json.loads(NUMBERS.read_text())
    first, second = before["runs"]
    folder = Path("checkpoints/mine") / first / "seed3"
    (folder / "best.ckpt").unlink()
    (folder / "last.ckpt").unlink()
    NUMBERS.unlink()
    answer = litetext(*ABLATE, "--seeds", "3", "4")  # one more seed: only what is new is trained
    assert answer.code == 0
    assert [call[0] for call in commands] == ["fit", "fit", "fit", "test"]
    trained = [call[call.index("--run") + 1] for call in commands]
    assert trained == [f"mine/{first}/seed3", f"mine/{first}/seed4", f"mine/{second}/seed4", "mine"]
    assert not any("--ckpt_path" in call for call in commands)
    after = json.loads(NUMBERS.read_text())
    for name in (first, second):  # all but the clock
        assert {**after["runs"][name]["3"], "seconds": 0} == {**before["runs"][name]["3"], "seconds": 0}
    results = json.loads(Path("lightning_logs/mine/results.json").read_text())  # litetext test tells seeds, too
    for entry in after["groups"]["losses"].values():
        told = results["seeds"][entry["variant"]]
        assert told["seeds"] == [3, 4]
        assert told["average"]["CG_F1"] == entry["CG_F1"]
    part = after["groups"]["losses"]["all"]["cosine"]
    assert part["sd"] == pytest.approx((part["max"] - part["min"]) / math.sqrt(2))
    assert f"{part['mean']:.4f} ± {part['sd']:.4f} ({part['min']:.4f} to {part['max']:.4f})" in answer.out


def test_a_fit_that_was_interrupted_resumes_or_starts_anew(again: Path, commands: list[list[str]]) -> None:
    numbers = json.loads(NUMBERS.read_text())
    name = next(iter(numbers["runs"]))
    run, argv = f"mine/{name}/seed3", ["--config", "tiny.yaml", *arguments(MINE["options"])]
    folder = Path("checkpoints") / run
    argv += arguments(MINE["groups"]["losses"]["MSE"])
    (folder / "fit.json").unlink()  # killed right before it was done
    best, scores = fit_once(run, 3, argv)
    assert commands[-1][-2:] == ["--ckpt_path", "last"]
    assert len(commands) == 1
    assert scores["cosine"] == numbers["runs"][name]["3"]["cosine"]
    assert scores["seconds"] is None, "what went before the interruption was not measured"
    assert best == str(folder / "best.ckpt")
    (folder / "fit.json").unlink()
    (folder / "last.ckpt").write_bytes(b"cut")
    _, scores = fit_once(run, 3, argv)
    assert len(commands) == 2
    assert "--ckpt_path" not in commands[-1]
    assert scores["seconds"] > 0
    assert scores["cosine"] == numbers["runs"][name]["3"]["cosine"]
    fit_once(run, 3, argv)
    assert len(commands) == 2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seed": [1]}, ["seed is no key", "seeds"]),
        ({"seeds": [0, 0]}, ["seeds is [0, 0]", "[0, 1, 2]"]),
        ({"seeds": [True]}, ["seeds is [True]"]),
        ({"seeds": 3}, ["seeds is 3"]),
        ({"fit": None}, ["fit is None", "litetext fit"]),
        ({"fit": ["tiny.yaml", 3]}, ["fit is ['tiny.yaml', 3]"]),
        ({"test": []}, ["test is []"]),
        ({"groups": {}}, ["groups is {}"]),
        ({"groups": {"losses": ["MSE"]}}, ["groups.losses is ['MSE']"]),
        ({"groups": {"losses": {"MSE": 0}}}, ["groups.losses.MSE is 0"]),
        ({"options": {"run": "x"}}, ["options sets run", "--run"]),
        ({"groups": {"a": {"b": {"seed_everything": 1}}}}, ["groups.a.b sets seed_everything"]),
        ({"against": {"loses": "MSE"}}, ["against.loses", "losses, weight"]),
        ({"against": {"losses": "L1"}}, ["against.losses is 'L1'", "MSE, all"]),
        ({"paper": {"losses": "50.3"}}, ["paper.losses is '50.3'"]),
        ({"paper": {"losses": {"L1": 50.3}}}, ["paper.losses.L1", "MSE, all"]),
        ({"paper": ["losses"]}, ["paper is ['losses']"]),
    ],
)
def test_a_config_that_says_nothing_useful_is_refused(change: dict[str, Any], told: list[str]) -> None:
    with pytest.raises(ValueError, match=re.escape(told[0])) as error:
        read_plan({**MINE, **change})
    assert told[-1] in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"groups": {"a": {"b": {}, "c": {"model.consistancy_weight": 0}}}}, ["'consistancy_weight' is not accepted"]),
        ({"groups": {"a": {"b": {"model.consistency_weight": -1}}}}, ["model.consistency_weight is -1"]),
        ({"fit": "nowhere.yaml"}, ["--config nowhere.yaml", "ablation.yaml"]),
        ({"groups": {"a": {"b": {}}}, "test_options": {"model.chunk": 0}}, ["model.chunk is 0"]),
        ({"groups": {"a": {"b": {}}}, "test_options": {"data.root": "gold"}}, ["gold"]),
    ],
)
def test_wrong_options_are_refused_before_anything_is_trained(
    change: dict[str, Any], told: list[str], folder: Path, refused: Callable[..., str], commands: list[list[str]]
) -> None:
    Path("mine.yaml").write_text(yaml.safe_dump({**MINE, **change}))
    line = refused(*ABLATE)
    for part in told:
        assert part in line
    assert not commands


def test_the_shipped_ablation_has_the_papers_variants() -> None:
    plan = read_plan(yaml.safe_load(config_path("ablation.yaml").read_text()))
    assert {group: list(variants) for group, variants in plan.groups.items()} == {
        "losses": ["MSE", "+ cosine", "+ consistency"],
        "context": ["8", "16", "32"],
        "permutation": ["attribute-noun", "all words"],
        "consistency weight": ["0", "0.05", "0.1", "0.2"],
    }
    assert plan.against == {
        "losses": "+ cosine",
        "context": "16",
        "permutation": "attribute-noun",
        "consistency weight": "0.1",
    }
    assert plan.paper["losses"]["MSE"] == "50.3 / 0.74 / 62.1"
    assert len(plan.seeds) == 5
    different = {json.dumps(arguments(given)) for variants in plan.groups.values() for given in variants.values()}
    assert len(different) == 8


def test_a_finished_fit_of_another_teacher_or_other_prompts_is_not_taken_for_this_one(
    again: Path, commands: list[list[str]], refused: Callable[..., str], teacher_file: Path
) -> None:
    name = next(iter(json.loads(NUMBERS.read_text())["runs"]))
    mark = Path("checkpoints/mine") / name / "seed3/fit.json"
    told = json.loads(mark.read_text())
    assert set(told) == {"seconds", "code", "teacher", "prompts"}
    mark.write_text(json.dumps({**told, "teacher": "0" * 64}))
    before = (mark.parent / "best.ckpt").read_bytes()
    line = refused(*ABLATE)
    assert str(mark.parent) in line
    assert "learnt from other things than are there now (teacher)" in line
    assert "--run NAME" in line
    assert (mark.parent / "best.ckpt").read_bytes() == before
    assert not commands
    mark.write_text(json.dumps({**told, "prompts": "0" * 32}))
    assert "now (prompts)" in refused(*ABLATE)


def test_the_weights_that_a_student_begins_with_count(again: Path) -> None:
    shutil.copy(next(Path("checkpoints/mine").glob("*/seed3/best.ckpt")), "begin.ckpt")
    given = ("--model.student.layers=0", "--model.student.pretrained=begin.ckpt")

    def content() -> dict[str, str]:
        return _content(check("fit", ["--config", "tiny.yaml", "--run", "keyed", *given]), {})

    told = content()
    assert set(told) == {"teacher", "prompts", "pretrained"}
    stored = torch.load("begin.ckpt", weights_only=True)
    stored["state_dict"]["student.projector.bias"] += 1
    torch.save(stored, "begin.ckpt")
    changed = content()
    assert {key for key in told if told[key] != changed[key]} == {"pretrained"}


def test_fits_of_another_version_of_the_code_are_kept_and_named(
    again: Path, commands: list[list[str]], litetext: Callable[..., Answer]
) -> None:
    name = next(iter(json.loads(NUMBERS.read_text())["runs"]))
    mark = Path("checkpoints/mine") / name / "seed3/fit.json"
    mark.write_text(json.dumps({**json.loads(mark.read_text()), "code": "f" * 16}))
    answer = litetext(*ABLATE)
    assert answer.code == 0
    assert [call[0] for call in commands] == ["test"]
    assert f"another version of the code ({'f' * 16}): {mark.parent / 'best.ckpt'}" in answer.out
    assert json.loads(NUMBERS.read_text())["runs"][name]["3"]["code"] == "f" * 16


def test_the_shipped_comparison_of_paddings_has_repmixer() -> None:
    plan = read_plan(yaml.safe_load(config_path("padding.yaml").read_text()))
    assert list(plan.groups["padding"]) == ["masked", "transformers"]
    assert plan.against == {"padding": "masked"}
    # Without RepMixer both paddings compute the same, and the comparison would be empty.
    assert "--model.student.init_args.repmixer=true" in plan.fit
