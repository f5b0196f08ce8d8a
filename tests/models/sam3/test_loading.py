"""Whole SAM3 models in every layout that holds one: the same vision tower and detector."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, Sam3LiteTextConfig, Sam3LiteTextModel

from litetext.checkpoints.reading import open_state
from litetext.checkpoints.sam3 import DETECTOR, read_without_text
from litetext.checkpoints.sam3_names import POSITIONS, WHOLE
from litetext.checkpoints.text import joined
from litetext.models.sam3.image import Sam3Image
from litetext.models.sam3.loading import PARTS
from litetext.segmenter import Segmenter
from litetext.shipped import shipped

SAM3 = Path(shipped("checkpoints/sam3-tiny"))


def same(a: Sam3Image, b: Sam3Image) -> None:
    one, two = a.model.state_dict(), b.model.state_dict()
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)
    image = torch.randint(0, 255, (3, 40, 50), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    first, second = (m.encode_images(m.preprocess([image])) for m in (a, b))
    torch.testing.assert_close(first.tokens, second.tokens, rtol=0, atol=1e-5)
    torch.testing.assert_close(first.token, second.token, rtol=0, atol=1e-5)


def published(folder: Path) -> None:
    """A folder as SAM3-LiteText is published: the class's own names, nothing of ours in the config."""
    found = AutoConfig.from_pretrained(SAM3)
    parts = {part: getattr(found, part).to_dict() for part in PARTS}
    for part in parts.values():
        part.pop("model_type")
    text = {"hidden_size": 16, "intermediate_size": 64, "projection_dim": 16, "num_hidden_layers": 3}
    text |= {"num_attention_heads": 2, "max_position_embeddings": 16}
    torch.manual_seed(0)
    vision = found.vision_config.to_dict()
    model = Sam3LiteTextModel(Sam3LiteTextConfig(vision_config=vision, text_config=text, **parts))
    rest = read_without_text(open_state(SAM3))
    missing, unexpected = model.load_state_dict(rest, strict=False)
    assert not unexpected
    assert all(key.startswith("text_") for key in missing)
    model.save_pretrained(folder)


def test_a_published_sam3_litetext_folder_is_a_segmenter(tmp_path: Path) -> None:
    published(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "sam3_lite_text"
    same(Sam3Image.from_pretrained(tmp_path), Sam3Image.from_pretrained(SAM3))
    segmenter = Segmenter(tmp_path)
    assert segmenter.encoder.padding == "reference"
    assert segmenter.tracking == "links"
    (found,) = segmenter(torch.zeros(3, 40, 50, dtype=torch.uint8), ["red circle"])
    assert found.masks.shape[1:] == (40, 50)


def test_metas_file_is_a_segmenter_of_the_size_that_lies_beside_it(tmp_path: Path) -> None:
    state = joined(read_without_text(open_state(SAM3)).items(), WHOLE, "x", "y")
    first = torch.zeros(1, 1, state[POSITIONS[0]].shape[2])
    state[POSITIONS[0]] = torch.cat([first, state[POSITIONS[0]]], 1)
    torch.save({"model": {DETECTOR + key: tensor for key, tensor in state.items()}}, tmp_path / "sam3.pt")
    with pytest.raises(ValueError, match=r"no whole SAM3 of the size .*: \d+ weights are missing"):
        Sam3Image.from_pretrained(tmp_path / "sam3.pt")
    shutil.copy(SAM3 / "config.json", tmp_path)
    same(Sam3Image.from_pretrained(tmp_path / "sam3.pt"), Sam3Image.from_pretrained(SAM3))


def test_a_folder_of_a_text_encoder_alone_is_refused(tmp_path: Path) -> None:
    published(tmp_path)
    about = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**about, "model_type": "clip"}))
    with pytest.raises(ValueError, match="SAM3"):
        Sam3Image.from_pretrained(tmp_path)
