"""SAM 3.1: Meta's multiplex checkpoint as a teacher and as a whole."""

import shutil
from pathlib import Path

import pytest
import torch
from transformers import Sam3Config, Sam3Model

from litetext.bench.rehearsal.meta_files import as_file, sam3, sam31
from litetext.checkpoints.reading import open_state
from litetext.checkpoints.sam3 import TEXT, from_meta, read_without_text, to_meta
from litetext.checkpoints.writing import MODEL_PREFIX
from litetext.export.targets import export
from litetext.models.sam3.image import Sam3Image
from litetext.models.sam3.tracking import choose_tracking
from litetext.models.text.loading import load_text_encoder
from litetext.shipped import shipped
from tests.export.students import checkpoint

SAM3 = Path(shipped("checkpoints/sam3-tiny"))
LAST = "vision_encoder.neck.fpn_layers.3."


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return {key: t.float() for key, t in open_state(SAM3).under([""]).items()}


@pytest.fixture
def file(tmp_path: Path, state: dict[str, torch.Tensor]) -> Path:
    shutil.copy(SAM3 / "config.json", tmp_path)
    torch.save(as_file(sam31(state)), tmp_path / "sam3.1_multiplex.pt")
    return tmp_path / "sam3.1_multiplex.pt"


def test_the_published_file_has_as_many_names() -> None:
    """1,166 tensors of the detector, as public inventories of `sam3.1_multiplex.pt` count them."""
    with torch.device("meta"):
        published = Sam3Model(Sam3Config()).state_dict()
        there = sam31(published)
        assert len(there) == 1166
        back = from_meta({key: tensor for key, tensor in there.items() if not key.startswith(TEXT)})
    rest = {key: tensor for key, tensor in published.items() if not key.startswith("text_")}
    assert {key: tensor.shape for key, tensor in back.items()} == {key: tensor.shape for key, tensor in rest.items()}


def test_there_and_back(state: dict[str, torch.Tensor]) -> None:
    own = {key: tensor for key, tensor in state.items() if not key.startswith("text_")}
    meta = {key: tensor for key, tensor in sam31(state).items() if not key.startswith(TEXT)}
    found = from_meta(meta)
    assert found.keys() == own.keys()
    for key, tensor in found.items():
        assert torch.equal(tensor, torch.zeros_like(tensor) if key.startswith(LAST) else own[key]), key
    back = to_meta(found, sam31(state))
    assert back.keys() == meta.keys()
    assert all(torch.equal(back[key], meta[key]) for key in meta)
    with pytest.raises(ValueError, match=r"no place for 1 keys \(backbone\.vision_backbone\.surprise_convs\.0\)"):
        from_meta(meta | {"backbone.vision_backbone.surprise_convs.0": torch.ones(1)})
    three = {key: tensor for key, tensor in sam3(state).items() if not key.startswith(TEXT)}
    assert from_meta(three)[f"{LAST}proj1.weight"].any()  # of SAM 3 nothing is filled


def test_a_segmenter_and_a_teacher_of_one_file(file: Path) -> None:
    ours, theirs = Sam3Image.from_pretrained(file), Sam3Image.from_pretrained(SAM3)
    image = torch.randint(0, 255, (3, 40, 50), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    teacher = load_text_encoder(file, heads=4)
    text = teacher.encode(["red circle", "a cup"]).take(["red circle", "a cup"])
    found = [m.detect(m.encode_images(m.preprocess([image])), *text) for m in (ours, theirs)]
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)  # the level that is filled counts for nothing
    own = load_text_encoder(SAM3)
    assert own.config.keys() == teacher.config.keys()
    assert all(torch.equal(a, b) for a, b in zip(own.parameters(), teacher.parameters(), strict=True))
    assert choose_tracking(file) == "links"  # transformers has no tracker of 3.1's kind


def test_exports_build_on_it(tmp_path: Path, file: Path) -> None:
    student = checkpoint(tmp_path / "s.ckpt", padding="reference")
    export(student, "efficientsam3", str(tmp_path / "whole"), ["red circle"], sam3=str(file), pairs=4)
    merged = open_state(tmp_path / "whole" / "sam3_litetext.pt")
    before = open_state(file)
    assert {k for k in merged.keys if not k.startswith(MODEL_PREFIX)} == {
        k for k in before.keys if not k.startswith(MODEL_PREFIX)
    }
    made = export(student, "transformers", str(tmp_path / "stock"), ["red circle"], sam3=str(file), pairs=4)
    assert made.agreements[0].pairs == 4
    exported = read_without_text(open_state(tmp_path / "stock"))
    assert exported.keys() == read_without_text(before).keys()
