"""Whole SAM3 models between Meta's names and transformers'."""

from pathlib import Path

import pytest
import torch

from litetext.checkpoints.reading import open_state
from litetext.checkpoints.sam3 import DETECTOR, TEXT, from_meta, read_without_text, to_meta
from litetext.checkpoints.sam3_names import POSITIONS, WHOLE
from litetext.checkpoints.text import joined, split
from litetext.checkpoints.text_names import LAYOUTS
from litetext.shipped import shipped

SAM3 = shipped("checkpoints/sam3-tiny")
TRUNK = "backbone.vision_backbone.trunk."
HOMELESS = {
    f"{TRUNK}blocks.0.attn.freqs_cis": torch.randn(4, 2),
    "geometry_encoder.points_direct_project.weight": torch.randn(3, 2),
    "geometry_encoder.points_pool_project.bias": torch.randn(3),
    "backbone.vision_backbone.sam2_convs.0.conv_1x1.weight": torch.randn(2, 2),
}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for key in a:
        torch.testing.assert_close(a[key], b[key], rtol=0, atol=0, msg=key)


@pytest.fixture(scope="module")
def tiny() -> dict[str, torch.Tensor]:
    return read_without_text(open_state(SAM3))


@pytest.fixture(scope="module")
def meta(tiny: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tiny SAM3 as Meta's file would hold it, with what transformers leaves out."""
    state = joined(tiny.items(), WHOLE, "x", "y") | HOMELESS
    first = torch.randn(1, 1, state[POSITIONS[0]].shape[2])
    state[POSITIONS[0]] = torch.cat([first, state[POSITIONS[0]]], 1)
    return state


def test_every_name_of_the_published_model_has_one_of_metas() -> None:
    from transformers import Sam3Config, Sam3Model

    with torch.device("meta"):
        state = Sam3Model(Sam3Config()).state_dict()
    assert len(state) == 1468
    text = ("text_encoder.", "text_projection.")
    rest = {key: tensor for key, tensor in state.items() if not key.startswith(text)}
    there = joined(rest.items(), WHOLE, "x", "y")
    back = split(there, WHOLE, "x")
    assert {key: tensor.shape for key, tensor in back.items()} == {key: tensor.shape for key, tensor in rest.items()}
    rules = LAYOUTS["sam3"].rules
    assert rules is not None
    joined(((key, tensor) for key, tensor in state.items() if key.startswith(text)), rules, "x", "y")
    for known in (  # as they stand in Meta's code
        "backbone.vision_backbone.trunk.blocks.31.attn.qkv.weight",
        "backbone.vision_backbone.convs.0.dconv_2x2_1.bias",
        "backbone.vision_backbone.convs.1.dconv_2x2.weight",
        "backbone.vision_backbone.convs.3.conv_3x3.weight",
        "geometry_encoder.encode.2.cross_attn_image.in_proj_weight",
        "transformer.encoder.layers.5.cross_attn_image.out_proj.bias",
        "transformer.decoder.layers.0.catext_norm.weight",
        "transformer.decoder.boxRPB_embed_y.layers.1.weight",
        "transformer.decoder.presence_token_head.layers.2.bias",
        "segmentation_head.cross_attend_prompt.in_proj_bias",
        "segmentation_head.mask_predictor.mask_embed.layers.0.weight",
        "dot_prod_scoring.prompt_mlp.out_norm.weight",
    ):
        assert known in there, known


def test_there_and_back_bit_for_bit(tiny: dict[str, torch.Tensor], meta: dict[str, torch.Tensor]) -> None:
    same(from_meta(meta), tiny)
    same(to_meta(from_meta(meta), meta), meta)
    changed = {key: tensor + 1 for key, tensor in tiny.items()}
    same(from_meta(to_meta(changed, meta)), changed)


def test_a_file_of_metas_is_read_without_its_text_and_tracker(
    tmp_path: Path, tiny: dict[str, torch.Tensor], meta: dict[str, torch.Tensor]
) -> None:
    whole = {DETECTOR + key: tensor for key, tensor in meta.items()}
    whole |= {f"{DETECTOR}{TEXT}encoder.ln_final.weight": torch.ones(2), "tracker.maskmem.weight": torch.ones(2)}
    torch.save({"model": whole}, tmp_path / "sam3.pt")
    same(read_without_text(open_state(tmp_path / "sam3.pt")), tiny)
    torch.save(meta, tmp_path / "flat.pt")
    same(read_without_text(open_state(tmp_path / "flat.pt")), tiny)


def test_names_that_do_not_belong_are_told(tiny: dict[str, torch.Tensor], meta: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ValueError, match=r"no place for 1 keys \(geometry_encoder\.surprise\)"):
        from_meta(meta | {"geometry_encoder.surprise": torch.ones(1)})
    with pytest.raises(ValueError, match=r"1 unexpected \(surprise\.weight\)"):
        to_meta(tiny | {"surprise.weight": torch.ones(1)}, meta)
    lost = "detr_decoder.query_embed.weight"
    with pytest.raises(ValueError, match=r"1 missing \(transformer\.decoder\.query_embed\.weight\)"):
        to_meta({key: tensor for key, tensor in tiny.items() if key != lost}, meta)
    with pytest.raises(ValueError, match=r"1 misshapen \(transformer\.decoder\.query_embed\.weight\)"):
        to_meta(tiny | {lost: tiny[lost][:1]}, meta)
