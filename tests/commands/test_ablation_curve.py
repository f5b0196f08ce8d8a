"""The capacity curve: an ablation without a segmenter, its table of sizes, and the figure."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import pytest
import yaml

from litetext.commands.ablate import merge_plans
from litetext.commands.ablation_curve import draw_curve
from litetext.commands.ablation_plan import read_plan
from litetext.models.text.students import load_student
from litetext.shipped import config_path
from tests.fixtures.runs import Answer

SPREAD = {"mean": 0.5, "sd": 0.1, "min": 0.4, "max": 0.6}


def test_an_ablation_without_a_segmenter_compares_held_out_prompts_and_draws(
    folder: Path, litetext: Callable[..., Answer]
) -> None:
    config = {
        "fit": "tiny.yaml",
        "seeds": [3],
        "curve": "Students of nobody",
        "options": {"trainer.max_epochs": 1},
        "groups": {"size": {"small": {"model.student.init_args.layers": 0}, "large": {}}},
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump(config))
    answer = litetext("ablate", "--config", "mine.yaml")
    assert answer.code == 0, answer.err
    numbers = json.loads(Path("lightning_logs/mine/ablation.json").read_text())
    size = numbers["groups"]["size"]
    for label in ("small", "large"):
        run = numbers["runs"][size[label]["variant"]]["3"]
        student = load_student(run["checkpoint"])
        assert run["parameters"] == student.parameter_count == numbers["parameters"][size[label]["variant"]]
        assert size[label]["agreement"]["mean"] == pytest.approx(run["agreement"])
        assert size[label]["CG_F1"]["mean"] is None
        assert f"| size, {label} | {student.parameter_count:,} |" in answer.out
    assert "| size | cosine | pooled_cosine | agreement | drift |" in answer.out
    drawn = Path("lightning_logs/mine/curve.svg").read_text()
    assert "</svg>" in drawn


def test_no_group_is_left_out_however_many_there_are(tmp_path: Path) -> None:
    entry = {"variant": "a", "agreement": SPREAD, "cosine": SPREAD}
    groups = {f"group{n}": {"1": entry} for n in range(11)}
    with mpl.rc_context({"svg.fonttype": "none"}):
        assert draw_curve(tmp_path / "curve.svg", groups, {"a": {"parameters": 1000}}, "many")
    drawn = (tmp_path / "curve.svg").read_text()
    assert all(f">{group}<" in drawn for group in groups)


def test_nothing_is_drawn_of_one_variant(tmp_path: Path) -> None:
    entry = {"variant": "a", "agreement": SPREAD, "cosine": SPREAD}
    sizes = {"a": {"parameters": 1000}, "b": {"parameters": 2000}}
    assert not draw_curve(tmp_path / "curve.svg", {"size": {"1": entry}}, sizes, "one")
    assert draw_curve(tmp_path / "curve.svg", {"size": {"1": entry, "2": {**entry, "variant": "b"}}}, sizes, "two")


@pytest.mark.parametrize("name", ["capacity.yaml", "students.yaml"])
def test_the_shipped_curves_have_both_recipes_and_the_table(name: str) -> None:
    plan = read_plan(yaml.safe_load(config_path(name).read_text()))
    assert list(plan.groups) == ["paper's recipe", "our recipe", "static table"]
    assert all(list(labels) == ["1/4", "1/8", "1/16", "1/32"] for labels in plan.groups.values())
    assert bool(plan.test) == (name == "students.yaml")
    assert len(plan.seeds) == 3
    assert re.match("Students of ", plan.curve)
    for recipe, group in (("paper", "paper's recipe"), ("litetext", "our recipe")):
        assert {options["model.recipe"] for options in plan.groups[group].values()} == {recipe}


def test_an_option_of_a_later_config_replaces_the_former_value() -> None:
    shipped = {"options": {"data.sources": {"nouns": "nouns:20"}, "x": 1}, "groups": {"a": {"b": {"y": 1}}}}
    mine = {"options": {"data.sources": {"mine": "mine.txt"}}, "groups": {"a": {"c": {"y": 2}}}}
    merged = merge_plans(shipped, mine)
    assert merged["options"] == {"data.sources": {"mine": "mine.txt"}, "x": 1}
    assert merged["groups"] == {"a": {"b": {"y": 1}, "c": {"y": 2}}}
    assert merge_plans({}, mine) == mine
    assert merge_plans(shipped, {"options": None})["options"] is None


def test_the_shipped_ablation_of_a_real_encoder_takes_the_recipe_apart() -> None:
    plan = read_plan(yaml.safe_load(config_path("minilm_ablation.yaml").read_text()))
    assert list(plan.groups) == ["losses", "context", "consistency weight", "start", "data"]
    assert plan.against["start"] == "paper"
    assert not plan.test
    assert len(plan.seeds) == 3
