"""An export's predictions are those of its student, as the export's card opens it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from litetext.export.masks import THRESHOLD, agreement_of, answers, draw_pairs
from litetext.export.targets import export
from litetext.export.transformers_target import stock_segment
from litetext.models.text.loading import load_text_encoder
from litetext.saco.instances import Instances
from litetext.segmenter import Segmenter
from litetext.tokenizer import Tokenizer
from tests.export.students import SAM3, STUDENT, checkpoint, snippet

PROMPTS = ["white dog", "red circle", "large blue square"]


def found(score: float, top: int = 0) -> Instances:
    mask = torch.zeros(1, 10, 10, dtype=torch.bool)
    mask[0, top : top + 4] = True
    return Instances(torch.tensor([score], dtype=torch.float64), masks=mask)


NOTHING = Instances(torch.zeros(0, dtype=torch.float64), masks=torch.zeros(0, 10, 10, dtype=torch.bool))


def test_instances_are_matched_and_what_has_no_partner_is_counted() -> None:
    same = agreement_of([found(0.9), NOTHING], [found(0.9), NOTHING], "x")
    assert (same.pairs, same.found, same.presence, same.unmatched, same.score, same.iou) == (2, 1, 0, 0, 0, 1)
    assert not same.fault
    moved = agreement_of([found(0.9)], [found(0.8, top=1)], "x")
    assert moved.iou == pytest.approx(30 / 50)
    assert moved.score == pytest.approx(0.1)
    assert "scores may differ" in moved.fault
    elsewhere = agreement_of([found(0.9)], [found(0.9, top=5)], "x")
    assert (elsewhere.presence, elsewhere.unmatched) == (0, 2)
    gone = agreement_of([found(0.9), found(THRESHOLD + 1e-4)], [NOTHING, NOTHING], "x")
    assert (gone.presence, gone.unmatched, gone.edge) == (1, 1, 1)
    assert "other instances" in gone.fault


@pytest.mark.parametrize("options", [{}, {"repmixer": True, "padding": "transformers"}, {"padding": "reference"}])
def test_the_card_of_a_transformers_folder_runs_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    source = checkpoint(tmp_path / "s.ckpt", **options) if options else STUDENT
    made = export(source, "transformers", "out", PROMPTS)
    assert made.agreements[0].pairs == 8
    assert f"- {made.agreements[0].line()}" in (tmp_path / "out" / "README.md").read_text()
    ((image, _),) = draw_pairs(1, "shapes")
    Image.fromarray(image.permute(1, 2, 0).numpy()).save("image.png")
    names: dict[str, Any] = {}
    exec(snippet(tmp_path / "out"), names)
    segmenter = Segmenter(SAM3, source)
    for ours, theirs in zip(segmenter("image.png", names["phrases"]), names["found"], strict=True):
        order = theirs["scores"].argsort(descending=True)
        torch.testing.assert_close(ours.scores, theirs["scores"][order].double(), rtol=0, atol=1e-4)
        assert len(ours.masks) == len(theirs["masks"])
    found = stock_segment(tmp_path / "out", 16 if options.get("padding") == "reference" else None)
    for mine, theirs in zip(found(image, names["phrases"]), names["found"], strict=True):
        torch.testing.assert_close(mine.scores, theirs["scores"].double(), rtol=0, atol=1e-6)
    if options.get("padding") == "reference":
        ids, lengths = Tokenizer(16)(names["phrases"], 16)
        expected = load_text_encoder(source)(ids, lengths)
        for line, n in enumerate(lengths):
            there = names["text"].pooler_output[line, :n]
            torch.testing.assert_close(there, expected[line, :n], rtol=0, atol=1e-5)


def test_what_differs_in_images_is_refused_though_features_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault of before: transformers without the ignored box, at its own threshold."""
    from litetext.export import transformers_target

    real = transformers_target.stock_segment

    def careless(folder: Path, context: int | None) -> Any:
        find = real(folder, context)
        return lambda image, phrases: [
            Instances(part.scores, masks=part.masks) if n else NOTHING for n, part in enumerate(find(image, phrases))
        ]

    monkeypatch.setattr(transformers_target, "stock_segment", careless)
    with pytest.raises(ValueError, match="does not predict what the student predicts: it predicts other instances"):
        export(STUDENT, "transformers", str(tmp_path / "out"), PROMPTS, pairs=24)
    assert not (tmp_path / "out").exists()
    export(STUDENT, "transformers", str(tmp_path / "out"), PROMPTS, pairs=0)
    assert "not measured: no pairs" in (tmp_path / "out" / "README.md").read_text()


def test_the_segmenter_opens_what_export_wrote(tmp_path: Path, litetext: Any) -> None:
    folder = tmp_path / "out"
    export(STUDENT, "transformers", str(folder), PROMPTS)
    ((image, phrases),) = draw_pairs(4, "shapes")
    ours, theirs = (segmenter(image, phrases) for segmenter in (Segmenter(SAM3, STUDENT), Segmenter(folder)))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.scores, other.scores, rtol=0, atol=1e-5)
        assert torch.equal(mine.masks, other.masks)
    Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy())).save(tmp_path / "a.png")
    command = ("segment", str(tmp_path / "a.png"), "--phrases", *phrases, "--output", str(tmp_path / "found"))
    answer = litetext(*command, "--model", str(folder))
    assert answer.code == 0, answer.err
    assert (tmp_path / "found" / "predictions.json").is_file()


def test_pairs_are_of_all_subsets_and_of_phrases_that_fit() -> None:
    asked = draw_pairs(30, "shapes", lambda phrase: len(phrase) < 30)
    assert sum(len(phrases) for _, phrases in asked) == 30
    assert all(len(phrase) < 30 for _, phrases in asked for phrase in phrases)
    assert len(answers(lambda image, phrases: [NOTHING] * len(phrases), asked)) == 30
