"""Teacher and student on one image, without the page."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from litetext import Segmenter
from litetext.checkpoints.hub_tokenizer import JSON, HubTokenizer
from litetext.commands.comparison import Comparison, _remark
from litetext.data.shapes.world import FIRST_HELD_OUT, draw_scene, render
from litetext.export.tokenizer_file import backend
from litetext.export.trimming import trim
from litetext.models.sam3.image import Sam3Image
from litetext.models.text.mobileclip import MobileClipText
from litetext.tokenizer import Tokenizer

STUDENT = "checkpoints/student-tiny/student.ckpt"


@pytest.fixture(scope="module")
def rings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene with two white rings and two white circles."""
    file = tmp_path_factory.mktemp("images") / "rings.png"
    Image.fromarray(render(draw_scene(FIRST_HELD_OUT + 3))).save(file)
    return file


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return Comparison("checkpoints/sam3-tiny", STUDENT)


def test_both_sides_are_what_the_segmenter_finds(
    comparison: Comparison, rings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phrases = ["white ring", "black cross", "white circle"]
    wanted = [Segmenter("shapes", text_encoder=encoder)(rings, phrases) for encoder in (None, STUDENT)]
    passes: list[int] = []
    encode = Sam3Image.encode_images
    monkeypatch.setattr(Sam3Image, "encode_images", lambda self, p: passes.append(len(p)) or encode(self, p))
    answer = comparison.answer(rings, [" white ring", "", "black cross ", "white circle", "white ring"], 0.5)
    assert passes == [1], "one pass of the vision tower for both"
    assert answer.phrases == phrases
    for side, found in zip((answer.teacher, answer.student), wanted, strict=True):
        for scores, part in zip(side.scores, found, strict=True):
            assert scores == pytest.approx(part.scores.tolist(), abs=2e-5)
        assert side.picture.shape == (560, 560, 3)
        assert side.seconds > 0
    assert (answer.teacher.parameters, answer.student.parameters) == (3_322_496, 359_968)
    for n, shared in enumerate(answer.shared):
        one, other = (found[n].masks.any(0).numpy() for found in wanted)
        union = (one | other).sum()
        assert shared == (pytest.approx((one & other).sum() / union, abs=1e-3) if union else None)
    assert answer.shared[0] is not None
    assert answer.shared[1] is None


def test_an_object_has_one_colour_on_both_sides(comparison: Comparison, rings: Path) -> None:
    answer = comparison.answer(rings, ["white ring", "white circle"], 0.5)
    assert min(answer.shared[0] or 0, answer.shared[1] or 0) > 0.9
    differ = (answer.teacher.picture != answer.student.picture).any(-1).mean()
    assert differ < 0.02, "masks of the same place in the same colours, but for edges and scores in labels"


def test_what_a_side_does_not_read_as_it_is_written_is_told(comparison: Comparison, rings: Path) -> None:
    """The student reads 24 tokens, and its teacher 32."""
    answer = comparison.answer(rings, ["white ring", "white " * 25 + "ring", "white " * 99 + "ring"])
    assert answer.teacher.remark == "1 of 3 cut at 32 tokens"
    assert answer.student.remark == "2 of 3 cut at 24 tokens"
    few = trim(Tokenizer().encode(["white ring"]))
    tokenizer, _ = backend(few.vocabulary, few.merges)
    reads = HubTokenizer({JSON: tokenizer.to_str().encode()}, "SAM3, a part", sam3_ids=few.kept)
    phrases = ["white ring", "black cross"]
    trimmed = MobileClipText("nano", 16, width=64, vocab_size=len(few.kept)).eval()
    trimmed.reads = reads
    assert _remark(trimmed, trimmed.encode(phrases), phrases) == "1 of 2 read in smaller pieces"
    segmenter, notes = Segmenter("shapes"), []
    segmenter.encoder, segmenter.note = trimmed, notes.append
    segmenter.encode(phrases)
    (note,) = notes
    assert "1 of 2 phrases have tokens that this text encoder lacks" in note
    assert note.endswith("'black cross'")


def test_the_threshold_counts(comparison: Comparison, rings: Path) -> None:
    many, few = (comparison.answer(rings, ["white ring"], threshold) for threshold in (0.05, 0.95))
    assert len(many.student.scores[0]) >= len(few.student.scores[0]) >= 1
    assert min(few.student.scores[0] + few.teacher.scores[0]) >= 0.95
    with pytest.raises(ValueError, match=r"threshold is 1\.5; choose a score from 0 to 1"):
        comparison.answer(rings, ["white ring"], 1.5)


def test_nothing_on_one_side_is_no_overlap(comparison: Comparison, rings: Path) -> None:
    answer = comparison.answer(rings, ["purple triangle"], 0.5)
    assert answer.teacher.scores == answer.student.scores == [[]]
    assert answer.shared == [None]
    assert np.array_equal(answer.teacher.picture, answer.student.picture)


def test_what_cannot_be_answered(comparison: Comparison, rings: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there are no phrases"):
        comparison.answer(rings, ["", "  "])
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ValueError, match=r"text\.png"):
        comparison.answer(tmp_path / "text.png", ["cup"])


def test_a_student_of_another_width_is_refused(teacher_file: Path) -> None:
    from safetensors.torch import save_file

    from litetext.models.text.teacher import Sam3TextEncoder

    other = Sam3TextEncoder.random(0, embed_width=16, heads=1, layers=1, hidden=32, eot_width=8, width=48)
    file = teacher_file.parent / "narrow.safetensors"
    save_file(other.state_dict(), file)
    with pytest.raises(ValueError, match=r"narrow\.safetensors: 48 values a token, and this SAM3 reads 64"):
        Comparison("checkpoints/sam3-tiny", str(file))
