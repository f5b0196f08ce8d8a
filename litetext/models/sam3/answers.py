"""What a frozen SAM3 makes of phrases, with gradients for their text features: the targets of the task loss.

`Sam3Image.detect` keeps the end of this alone, without gradients, and for one image.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from litetext.models.sam3.image import Sam3Image, Vision


class Answers(NamedTuple):
    """What SAM3 computes for N phrases, each about an image; K decoder layers, Q queries.

    Attributes:
        heard: The outputs of every attention in which something reads the text: image tokens in each layer of the DETR
            encoder, (N, P, D); queries and presence token in each layer of the decoder, (N, Q + 1, D).
        logits: Class logits, (K, N, Q).
        presence: Presence logits, (K, N).
        boxes: cx, cy, w, h in 0..1, (K, N, Q, 4).
        masks: Mask logits of the M phrases that were to be drawn, (M, Q, y, x).
    """

    heard: tuple[Tensor, ...]
    logits: Float[Tensor, "k n q"]
    presence: Float[Tensor, "k n"]
    boxes: Float[Tensor, "k n q 4"]
    masks: Float[Tensor, "m q y x"]

    @property
    def scores(self) -> Float[Tensor, "n q"]:
        """How sure SAM3 is of each query, in 0..1: class times presence of the last layer."""
        return self.logits[-1].sigmoid() * self.presence[-1].sigmoid()[:, None]


class Phrases(NamedTuple):
    """N phrases on their way through SAM3.

    Attributes:
        answers: What is computed so far, without masks.
        hidden: The queries after the decoder, (N, Q, D).
        tokens: Image tokens after the DETR encoder, (N, P, D).
        prompt: Text features and geometry token, (N, M, D).
        valid: Which of those count, (N, M).
        vision: The image of each phrase.
    """

    answers: Answers
    hidden: Tensor
    tokens: Tensor
    prompt: Tensor
    valid: Tensor
    vision: Vision


def of_each(vision: Vision, image: Int64[Tensor, " n"]) -> Vision:
    """What is seen of the image of each of N phrases, as a batch of N.

    Args:
        vision: B images.
        image: Which of them each phrase is about, (N,).
    """
    return Vision(
        tuple(level[image] for level in vision.levels), vision.tokens[image], vision.positions, vision.token[image]
    )


def answer(sam3: Sam3Image, vision: Vision, features: Float[Tensor, "n l d"], lengths: Int64[Tensor, " n"]) -> Phrases:
    """Runs the detector for N phrases, each about an image of its own; gradients reach the text features.

    Args:
        sam3: The SAM3; its weights stay as they are.
        vision: The image of each phrase, N in all, see `of_each`.
        features: Text features, (N, L, D); those at padding do not matter.
        lengths: Valid tokens of each phrase, (N,).

    Returns:
        The phrases, whose `answers` have no masks yet; see `draw`.

    Raises:
        ValueError: If there are not as many images and lengths as phrases, or the features are of another width.
    """
    sam3.check_width(features.shape[-1])
    if not len(vision) == len(features) == len(lengths):
        raise ValueError(f"{len(features)} phrases, {len(lengths)} lengths and {len(vision)} images; give one each")
    model: Any = sam3.model
    readers = [layer.cross_attn for layer in model.detr_encoder.layers]
    readers += [layer.text_cross_attn for layer in model.detr_decoder.layers]
    with _outputs(readers) as heard:
        encoded = sam3._encode(vision, features, lengths)
    queries = encoded.queries
    none = queries.logits.new_zeros(0, queries.logits.shape[-1], *vision.levels[0].shape[-2:])
    answers = Answers(tuple(heard), queries.logits, queries.presence, queries.boxes, none)
    return Phrases(answers, encoded.hidden, encoded.tokens, encoded.prompt, encoded.valid, vision)


def draw(sam3: Sam3Image, phrases: Phrases, chosen: Int64[Tensor, " m"]) -> Answers:
    """Draws the masks of all queries of some phrases.

    Args:
        sam3: The SAM3 that `answer` was given.
        phrases: What `answer` gave.
        chosen: Which of the phrases, (M,).

    Returns:
        The answers, now with masks.
    """
    if not len(chosen):
        return phrases.answers
    model: Any = sam3.model
    masks = model.mask_decoder(
        decoder_queries=phrases.hidden[chosen],
        backbone_features=[level[chosen] for level in phrases.vision.levels],
        encoder_hidden_states=phrases.tokens[chosen],
        prompt_features=phrases.prompt[chosen],
        prompt_mask=phrases.valid[chosen],
    ).pred_masks
    return phrases.answers._replace(masks=masks)


@contextmanager
def _outputs(modules: Sequence[torch.nn.Module]) -> Iterator[list[Tensor]]:
    """Keeps what modules give while the context lasts, in the order in which they run."""
    found: list[Tensor] = []

    def keep(module: torch.nn.Module, given: Any, output: Any) -> None:
        found.append(output[0] if isinstance(output, tuple) else output)

    handles = [module.register_forward_hook(keep) for module in modules]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
