"""The detector's outputs for phrases, with gradients for their text features: what the task loss compares.

`Sam3Image.detect` keeps the last layer's alone, without gradients, and for one image.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from litetext.models.sam3.image import Sam3Image, Vision


class DetectorOutputs(NamedTuple):
    """Outputs of SAM3's detector for N phrases, each about an image; K decoder layers, Q queries.

    Attributes:
        text_attention: Outputs of every cross-attention to the text: of the image tokens in each layer of the DETR
            encoder, (N, P, D); of the queries and the presence token in each layer of the decoder, (N, Q + 1, D).
        logits: Class logits, (K, N, Q).
        presence: Presence logits, (K, N).
        boxes: cx, cy, w, h in 0..1, (K, N, Q, 4).
        masks: Mask logits of the M phrases that were decoded, (M, Q, y, x).
    """

    text_attention: tuple[Tensor, ...]
    logits: Float[Tensor, "k n q"]
    presence: Float[Tensor, "k n"]
    boxes: Float[Tensor, "k n q 4"]
    masks: Float[Tensor, "m q y x"]

    @property
    def scores(self) -> Float[Tensor, "n q"]:
        """Probability of each query, 0..1: class times presence of the last layer."""
        return self.logits[-1].sigmoid() * self.presence[-1].sigmoid()[:, None]


class DetectorStates(NamedTuple):
    """Outputs for N phrases, with the hidden states that their masks are decoded from.

    Attributes:
        outputs: The outputs, without masks.
        hidden: The queries after the decoder, (N, Q, D).
        tokens: Image tokens after the DETR encoder, (N, P, D).
        prompt: Text features and geometry token, (N, M, D).
        valid: Which of those count, (N, M).
        vision: The image of each phrase.
    """

    outputs: DetectorOutputs
    hidden: Tensor
    tokens: Tensor
    prompt: Tensor
    valid: Tensor
    vision: Vision


def vision_per_phrase(vision: Vision, image: Int64[Tensor, " n"]) -> Vision:
    """Vision features of the image of each of N phrases, as a batch of N.

    Args:
        vision: B images.
        image: Which of them each phrase is about, (N,).
    """
    return Vision(
        tuple(level[image] for level in vision.levels), vision.tokens[image], vision.positions, vision.token[image]
    )


def run_detector(
    sam3: Sam3Image, vision: Vision, features: Float[Tensor, "n l d"], lengths: Int64[Tensor, " n"]
) -> DetectorStates:
    """Runs the detector for N phrases, each about an image of its own; gradients reach the text features.

    Args:
        sam3: The SAM3; its weights stay as they are.
        vision: The image of each phrase, N in all, see `vision_per_phrase`.
        features: Text features, (N, L, D); those at padding do not matter.
        lengths: Valid tokens of each phrase, (N,).

    Returns:
        Outputs without masks, see `decode_masks`, and hidden states.

    Raises:
        ValueError: If there are not as many images and lengths as phrases, or the features are of another width.
    """
    sam3.check_width(features.shape[-1])
    if not len(vision) == len(features) == len(lengths):
        raise ValueError(f"{len(features)} phrases, {len(lengths)} lengths and {len(vision)} images; give one each")
    model: Any = sam3.model
    readers = [layer.cross_attn for layer in model.detr_encoder.layers]
    readers += [layer.text_cross_attn for layer in model.detr_decoder.layers]
    with _outputs(readers) as attended:
        encoded = sam3.run_detr(vision, features, lengths)
    queries = encoded.queries
    none = queries.logits.new_zeros(0, queries.logits.shape[-1], *vision.levels[0].shape[-2:])
    outputs = DetectorOutputs(tuple(attended), queries.logits, queries.presence, queries.boxes, none)
    return DetectorStates(outputs, encoded.hidden, encoded.tokens, encoded.prompt, encoded.valid, vision)


def decode_masks(sam3: Sam3Image, states: DetectorStates, chosen: Int64[Tensor, " m"]) -> DetectorOutputs:
    """Decodes the masks of all queries of some phrases.

    Args:
        sam3: The SAM3 that `run_detector` was given.
        states: What `run_detector` gave.
        chosen: Which of the phrases, (M,).

    Returns:
        The outputs, now with masks.
    """
    if not len(chosen):
        return states.outputs
    model: Any = sam3.model
    masks = model.mask_decoder(
        decoder_queries=states.hidden[chosen],
        backbone_features=[level[chosen] for level in states.vision.levels],
        encoder_hidden_states=states.tokens[chosen],
        prompt_features=states.prompt[chosen],
        prompt_mask=states.valid[chosen],
    ).pred_masks
    return states.outputs._replace(masks=masks)


@contextmanager
def _outputs(modules: Sequence[torch.nn.Module]) -> Iterator[list[Tensor]]:
    """Keeps the outputs of modules while the context lasts, in the order in which they run."""
    found: list[Tensor] = []

    def keep(module: torch.nn.Module, inputs: Any, output: Any) -> None:
        found.append(output[0] if isinstance(output, tuple) else output)

    handles = [module.register_forward_hook(keep) for module in modules]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
