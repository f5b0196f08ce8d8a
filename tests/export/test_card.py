"""What a card states is of the weights that lie beside it, and was measured."""

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from litetext.export.targets import export
from litetext.models.text.loading import load_text_encoder
from tests.export.students import checkpoint

PROMPTS = ["white dog", "red circle", "a big blue square"]


def card(folder: Path) -> ModelCard:
    return ModelCard.load(folder / "README.md")


@pytest.mark.parametrize("how", ["slice", "interpolate"])
def test_scores_of_other_positions_are_not_told(tmp_path: Path, how: Any) -> None:
    path = checkpoint(tmp_path / "s.ckpt")
    export(path, "text", str(tmp_path / "short"), PROMPTS, context_length=8, positions=how, pairs=0)
    export(str(tmp_path / "short"), "text", str(tmp_path / "again"), PROMPTS, pairs=0)
    for folder in (tmp_path / "short", tmp_path / "again"):
        assert "holds no scores of these weights" in card(folder).text
        assert card(folder).data.eval_results is None
    export(path, "text", str(tmp_path / "kept"), PROMPTS, context_length=16, positions=how, pairs=0)  # its own 16
    assert "| cosine per token | 0.5000 |" in card(tmp_path / "kept").text


@pytest.mark.parametrize("target", ["compact", "trimmed"])
def test_scores_of_the_student_are_not_those_of_what_differs_from_it(tmp_path: Path, target: str) -> None:
    export(checkpoint(tmp_path / "s.ckpt"), target, str(tmp_path / "out"), PROMPTS, keep=PROMPTS, pairs=0)
    found = card(tmp_path / "out")
    assert "Of the student before this export" in found.text
    assert "| cosine per token | 0.5000 |" in found.text
    assert found.data.eval_results is None


@pytest.mark.parametrize("target", ["trimmed", "efficientsam3"])
def test_parameters_are_counted_as_they_are_written(tmp_path: Path, target: str) -> None:
    """A factorised token table is multiplied out there, and a trimmed one has fewer rows."""
    padding = "reference" if target == "efficientsam3" else "masked"
    path = checkpoint(tmp_path / "s.ckpt", embedding_rank=3, padding=padding)
    keep = PROMPTS if target == "trimmed" else None
    export(path, target, str(tmp_path / "out"), PROMPTS, pairs=0, keep=keep)
    opened = tmp_path / "out" / "sam3_litetext.pt" if target == "efficientsam3" else tmp_path / "out"
    count, before = load_text_encoder(opened, heads=2).parameter_count, load_text_encoder(path).parameter_count
    assert f"A text encoder for SAM3 of {count:,} parameters, exported by litetext." in card(tmp_path / "out").text
    assert (count < before) if target == "trimmed" else (count > before)
    assert ("a part of its tokens" in card(tmp_path / "out").text) == (target == "trimmed")


def test_prompts_that_weights_were_rounded_for(tmp_path: Path) -> None:
    path, many = checkpoint(tmp_path / "s.ckpt"), [f"dog {n}" for n in range(2100)]
    export(path, "compact", str(tmp_path / "few"), PROMPTS, pairs=0, bits=6)
    assert "meet on 3 prompts of the gate" in card(tmp_path / "few").text
    export(path, "compact", str(tmp_path / "many"), PROMPTS, keep=many, pairs=0, bits=6)
    assert "meet on 700 of the 2,100 prompts of the corpus" in card(tmp_path / "many").text


def test_results_of_another_text_encoder(tmp_path: Path, litetext: Any, refused: Any) -> None:
    path, results = checkpoint(tmp_path / "s.ckpt"), tmp_path / "results.json"
    own = load_text_encoder(path).parameter_count

    def scored(parameters: int) -> None:
        part = {"iou": "segm", "average": {"CG_F1": 51.5}, "subsets": {"a": {"CG_F1": 51.5}}}
        results.write_text(json.dumps({"encoders": {"mine": {**part, "text_parameters": parameters}}}))

    scored(own + 1)
    argv = ("export", path, "--prompts", "shapes:9", "--pairs", "0", "--results", str(results), "--output")
    for target in ("text", "compact"):
        said = refused(*argv, str(tmp_path / target), "--to", target)
        assert f"mine has {own + 1:,} parameters there, and {path} {own:,}" in said
        assert not (tmp_path / target).exists()
    scored(own)
    for target, whose in (("text", ""), ("compact", "; of the student before this export")):
        assert litetext(*argv, str(tmp_path / target), "--to", target).code == 0
        assert f"CG_F1 of masks, litetext test{whose} (as `mine`)" in card(tmp_path / target).text
        (result,) = [r for r in card(tmp_path / target).data.eval_results if r.metric_type == "cg_f1"]
        assert result.metric_name == f"CG_F1, average{whose}"
    scored(load_text_encoder(tmp_path / "compact").parameter_count)  # the folder itself was scored
    assert litetext(*argv, str(tmp_path / "compact"), "--to", "compact", "--overwrite").code == 0
    assert "before this export" not in card(tmp_path / "compact").text.split("litetext test")[1].split("|")[0]
