"""Floating-point operations of text encoders and of a whole SAM3, counted while they run; 2 for a multiply-add."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from litetext.models.hub import find_model
from litetext.shipped import shipped

SAM3_TOKENS = 32
"""Tokens that SAM3 pads every prompt to."""


class Sam3Cost(NamedTuple):
    """What a SAM3 costs, part by part.

    Attributes:
        name: Where its sizes come from.
        parameters: Of `vision`, `detector` (everything that is neither vision nor text) and `text`.
        flops: Of `image` (once an image), `detector` and `text` (each once a prompt of 32 tokens).
    """

    name: str
    parameters: dict[str, int]
    flops: dict[str, int]


@torch.no_grad()
def count_flops(work: Callable[[], object]) -> int:
    """Operations of matrix products and convolutions, those inside attention included.

    Args:
        work: Runs the model; its parameters must not ask for gradients.
    """
    # The fused attention kernels are not all known to the counter; the plain one is made of matrix products.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def prompt_flops(encoder: nn.Module, lengths: Iterable[int]) -> dict[int, int]:
    """Operations for one prompt that fills its batch, so that nothing is padded.

    Args:
        encoder: A text encoder that takes ids and lengths; it may lie on the meta device.
        lengths: Tokens of prompts.

    Returns:
        Operations by length. Causal attention counts whole, as the plain kernel computes it.
    """
    device = next(encoder.parameters()).device
    fills = bool(getattr(encoder, "fills", False))
    # Lengths are read where padding is masked, so they must have values; elsewhere they meet the ids.
    seen = fills or getattr(encoder, "padding", "masked") == "reference"
    other = device if seen or device.type != "meta" else "cpu"

    def once(length: int) -> int:
        ids = torch.ones(1, length, dtype=torch.int64, device=device)
        # One that fills prompts reads its lengths too, unless the places of the valid tokens come along.
        known = {"valid": torch.arange(length, device=device)} if fills else {}
        return count_flops(lambda: encoder(ids, torch.tensor([length], device=other), **known))

    return {length: once(length) for length in sorted(set(lengths))}


def sam3_cost(path: str | None = None) -> Sam3Cost:
    """Parameters and operations of a SAM3, without weights: its modules are built on torch's meta device.

    Args:
        path: A folder or hub id of a SAM3 in transformers' layout; None for transformers' default sizes, which are
            those of `facebook/sam3`.

    Raises:
        FileNotFoundError: If there is no such folder and no such model on the hub.
        ValueError: If it is no SAM3.
    """
    from transformers import Sam3Config, Sam3Model  # slow to import, and needed here alone

    from litetext.models.sam3.forward import geometry_token  # it imports them too

    config: Any = Sam3Config() if path is None else _read_config(path)
    with torch.device("meta"):
        model: Any = Sam3Model(config).eval().requires_grad_(False)
    parameters = {"vision": 0, "detector": 0, "text": 0}
    for key, value in model.named_parameters():
        part = {"vision_encoder": "vision", "text_encoder": "text", "text_projection": "text"}
        parameters[part.get(key.split(".")[0], "detector")] += value.numel()
    side = config.vision_config.backbone_config.image_size
    seen: list[Any] = []
    flops = {"image": count_flops(lambda: seen.append(model.vision_encoder(_meta(1, 3, side, side))))}
    levels, places = list(seen[0].fpn_hidden_states[:-1]), list(seen[0].fpn_position_encoding[:-1])
    flops["image"] += count_flops(lambda: geometry_token(model, levels[-1], places[-1][:1]))
    flops["detector"] = count_flops(lambda: _detect(model, levels, places))
    ids = torch.ones(1, SAM3_TOKENS, dtype=torch.int64, device="meta")
    flops["text"] = count_flops(lambda: model.get_text_features(input_ids=ids))
    return Sam3Cost(path or "facebook/sam3 (sizes of its configuration)", parameters, flops)


def _read_config(path: str) -> Any:
    from transformers import AutoConfig

    folder = find_model(shipped(path), "SAM3", ("config.json",), "a local folder")
    try:
        config: Any = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"--sam3 {path}: {str(error).splitlines()[0]}") from error
    config = getattr(config, "detector_config", config)
    if config.model_type != "sam3":
        raise ValueError(f"--sam3 {path} describes a {config.model_type}; give a SAM3 in transformers' layout")
    return config


def _meta(*shape: int) -> torch.Tensor:
    return torch.empty(*shape, device="meta")


def _detect(model: Any, levels: list[torch.Tensor], places: list[torch.Tensor]) -> None:
    """The detector for one prompt of 32 tokens and the geometry token, none of them padding."""
    prompt = _meta(1, SAM3_TOKENS + 1, levels[-1].shape[1])
    encoded = model.detr_encoder(
        vision_features=[levels[-1]], text_features=prompt, vision_pos_embeds=[places[-1]], text_mask=None
    )
    decoded = model.detr_decoder(
        vision_features=encoded.last_hidden_state,
        text_features=prompt,
        vision_pos_encoding=encoded.pos_embeds_flattened,
        text_mask=None,
        spatial_shapes=torch.tensor([list(levels[-1].shape[-2:])]),  # its values are read, so it is a real tensor
    )
    hidden = decoded.intermediate_hidden_states
    model.detr_decoder.box_head(hidden)
    model.dot_product_scoring(decoder_hidden_states=hidden, text_features=prompt, text_mask=None)
    model.mask_decoder(
        decoder_queries=hidden[-1],
        backbone_features=levels,
        encoder_hidden_states=encoded.last_hidden_state,
        prompt_features=prompt,
        prompt_mask=None,
    )
