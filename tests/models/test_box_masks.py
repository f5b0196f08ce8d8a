"""Boxes that prompt a SAM: the masks of transformers' own processor and model, whatever boxes stand beside them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from litetext.models.box_masks import BoxSegmenter, load_box_segmenter
from tests.fixtures.detectors_world import save_owl, save_sam, save_sam2

KINDS = ("sam", "sam2", "sam2.1")
BOXES = torch.tensor([[0.1, 0.2, 0.5, 0.6], [0, 0, 1, 1], [0.4, 0.4, 0.2, 0.3]], dtype=torch.float64)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("sams")
    return {
        "sam": save_sam(root / "sam"),
        "sam2": save_sam2(root / "sam2"),
        "sam2.1": save_sam2(root / "sam2.1", video=True),
    }


@pytest.fixture(scope="module")
def loaded(folders: dict[str, Path]) -> dict[str, BoxSegmenter]:
    return {kind: load_box_segmenter(folder) for kind, folder in folders.items()}


def image(height: int, width: int) -> Tensor:
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(height))


def by_hand(kind: str, folder: Path, pixels: Tensor) -> Tensor:
    """The masks (k, H, W) as transformers' documentation makes them, of one image and all boxes at once."""
    import transformers as tf

    height, width = pixels.shape[1:]
    of_processor, of_model = (tf.SamProcessor, tf.SamModel) if kind == "sam" else (tf.Sam2Processor, tf.Sam2Model)
    processor: Any = of_processor.from_pretrained(folder)
    corners = torch.cat([BOXES[:, :2], BOXES[:, :2] + BOXES[:, 2:]], 1) * torch.tensor([width, height, width, height])
    inputs = processor(images=pixels, input_boxes=[corners.tolist()], return_tensors="pt")
    sizes = {key: inputs.pop(key) for key in ("original_sizes", "reshaped_input_sizes") if key in inputs}
    model: Any = of_model.from_pretrained(folder)
    with torch.no_grad():
        output = model.eval()(**inputs, multimask_output=False)
    return processor.post_process_masks(output.pred_masks, **sizes)[0][:, 0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(50, 90), (90, 40)])
def test_masks_are_those_of_transformers(
    kind: str, size: tuple[int, int], folders: dict[str, Path], loaded: dict[str, BoxSegmenter]
) -> None:
    segmenter, pixels = loaded[kind], image(*size)
    masks = torch.stack(list(segmenter.segment(segmenter.see(pixels), BOXES, chunk=2)))
    assert masks.shape == (3, *size)
    assert masks.dtype == torch.bool
    assert (masks != by_hand(kind, folders[kind], pixels)).float().mean() < 1e-3
    assert 0 < masks.float().mean() < 1
    assert (masks[0] != masks[1]).any(), "masks follow their boxes"


def test_what_is_no_sam_is_refused(tmp_path: Path, folders: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="is a 'owlv2'; box segmenters are sam, sam2, sam2_video"):
        load_box_segmenter(save_owl(tmp_path / "owl"))
    with pytest.raises(FileNotFoundError, match="box segmenter 'nowhere'"):
        load_box_segmenter("nowhere")
    (tmp_path / "bare").mkdir()
    for file in ("config.json", "model.safetensors"):
        (tmp_path / "bare" / file).write_bytes((folders["sam"] / file).read_bytes())
    with pytest.raises(ValueError, match=r"bare has no preprocessor_config\.json"):
        load_box_segmenter(tmp_path / "bare")
