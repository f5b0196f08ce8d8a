"""A frozen SAM3 for images: the vision tower once an image, phrases in chunks, text features from outside.

    image ─ preprocess ─► encode_images ─► Vision ─┐
    phrases ─ any text encoder ─► features, lengths ┴─► detect (raw) or segment (official post-processing)

Whatever depends on the image alone is part of `Vision`: the pyramid, the geometry token, and the image tokens after
the first self-attention of the DETR encoder, which comes before they meet a phrase. SAM 3: Carion et al. 2025.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor
from transformers.masking_utils import create_bidirectional_mask

from litetext.models.sam3.forward import Queries, box_and_score_heads, decode, geometry_token
from litetext.models.sam3.frozen import FrozenSam3, squares
from litetext.models.sam3.loading import load_detector
from litetext.models.sam3.postprocess import finish, official_scores
from litetext.saco.instances import Instances

_CHUNK = 16


@dataclass(frozen=True)
class Vision:
    """Features of B images before SAM3 reads a phrase; `vision[i]` is one of them.

    Attributes:
        levels: The pyramid that masks are drawn from, fine to coarse, each (B, D, y, x).
        tokens: Image tokens after the DETR encoder's first self-attention, (B, P, D).
        positions: Their position encoding, (1, P, D).
        token: The geometry token, (B, 1, D).
    """

    levels: tuple[Tensor, ...]
    tokens: Float[Tensor, "b p d"]
    positions: Float[Tensor, "1 p d"]
    token: Float[Tensor, "b 1 d"]

    def __len__(self) -> int:
        """Images."""
        return len(self.token)

    def __getitem__(self, image: int) -> "Vision":
        """One image, as a batch of one."""
        one = slice(image, image + 1) if image >= 0 else slice(image, image + 1 or None)
        if not len(self.token[one]):
            raise IndexError(f"image {image} of {len(self)}")
        return Vision(tuple(level[one] for level in self.levels), self.tokens[one], self.positions, self.token[one])


class DecoderOutputs(NamedTuple):
    """Raw outputs of the last decoder layer for N phrases and Q queries.

    Attributes:
        logits: Class logits, (N, Q).
        presence: Presence logits, (N,).
        boxes: cx, cy, w, h in 0..1, (N, Q, 4).
        masks: Mask logits of every query, (N, Q, y, x).
    """

    logits: Float[Tensor, "n q"]
    presence: Float[Tensor, " n"]
    boxes: Float[Tensor, "n q 4"]
    masks: Float[Tensor, "n q y x"]


class DetrOutputs(NamedTuple):
    """What the detector makes of N phrases, up to the masks.

    Attributes:
        queries: What the box and score heads give.
        hidden: The queries' states after the last decoder layer, (N, Q, D).
        tokens: The image after the encoder, (N, H W, D).
        prompt: What they attended to, text and then the geometry token, (N, M, D).
        valid: Which of that counts, bool (N, M).
    """

    queries: Queries
    hidden: Tensor
    tokens: Tensor
    prompt: Tensor
    valid: Tensor


class Sam3Image(FrozenSam3):
    """A frozen SAM3 for images, always in eval mode, that takes text features of any encoder.

    `from_pretrained` takes a folder of Sam3Model, Sam3VideoModel or Sam3LiteTextModel (published, or of `litetext
    export --to transformers`), `checkpoints/sam3-tiny`, a hub id (`facebook/sam3`), or Meta's `sam3.pt`.

    Args:
        model: A SAM3 of transformers; its parameters are frozen.
        geometry_token: Append the geometry encoder's token to every phrase, as Meta's SAM3 does. `False` gives what
            transformers computes when no box is given, which is not what SAM3 was trained with.
        processor: Image processor of the checkpoint; None resizes to the model's square and scales to -1..1.
    """

    @classmethod
    def _load(cls, name: str | os.PathLike[str], folder: Path, dtype: torch.dtype) -> Any:
        return load_detector(folder, dtype)

    @property
    def side(self) -> int:
        """Side in pixels of the square that images are resized to."""
        return int(self.processor.size["height"])

    def preprocess(self, images: Sequence[UInt8[Tensor, "3 _ _"]]) -> Float[Tensor, "b 3 s s"]:
        """Resizes and scales images as the checkpoint's own processor says.

        Args:
            images: RGB images of any sizes, uint8 (3, H, W).

        Returns:
            Normalised squares in float32, (B, 3, S, S).
        """
        return squares(self.processor, images)

    @torch.no_grad()
    def encode_images(self, pixels: Float[Tensor, "b 3 s s"]) -> Vision:
        """Runs the vision tower: once an image, whatever the phrases.

        Args:
            pixels: Normalised images from `preprocess`, (B, 3, S, S).

        Raises:
            ValueError: If they are not of the size that the model was built for.
        """
        if tuple(pixels.shape[-2:]) != (self.size, self.size):
            height, width = pixels.shape[-2:]
            raise ValueError(
                f"images of {height} x {width} pixels, and this SAM3 takes {self.size} x {self.size}; "
                "use preprocess, or give the checkpoint's image processor that size"
            )
        seen: Any = self.model.vision_encoder(pixels.to(self.device, self.dtype))
        levels = tuple(seen.fpn_hidden_states[:-1])
        where = seen.fpn_position_encoding[:-1][-1][:1]
        tokens, places = (t.flatten(2).transpose(1, 2) for t in (levels[-1], where))
        first: Any = self.model.detr_encoder.layers[0]
        normed = first.layer_norm1(tokens)
        placed = normed + places
        attended, _ = first.self_attn(query=placed, key=placed, value=normed)
        return Vision(levels, attended + tokens, places, geometry_token(self.model, levels[-1], where))

    @torch.no_grad()
    def detect(
        self, vision: Vision, features: Float[Tensor, "n l d"], lengths: Int64[Tensor, " n"], chunk: int = _CHUNK
    ) -> DecoderOutputs:
        """Raw outputs for N phrases about one image, every query's mask among them.

        Args:
            vision: One image, from `encode_images`.
            features: Text features, (N, L, D); those at padding do not matter.
            lengths: Valid tokens of each phrase, (N,).
            chunk: Phrases at once: memory grows with it, results do not change.

        Raises:
            ValueError: If there are several images, the features are of the wrong width, or a length or `chunk` is out
                of its range.
        """
        self._check(vision, features, lengths, chunk)
        queries = self.model.detr_decoder.query_embed.num_embeddings
        empty = vision.tokens.new_zeros(0, queries, 4)
        height, width = vision.levels[0].shape[-2:]
        none = empty[..., 0], empty[:, 0, 0], empty, empty.new_zeros(0, queries, height, width)
        parts = [DecoderOutputs(*none)]
        for start in range(0, len(lengths), chunk):
            encoded = self.run_detr(vision, features[start : start + chunk], lengths[start : start + chunk])
            logits, boxes, presence = (part[-1] for part in encoded.queries)
            parts.append(DecoderOutputs(logits, presence, boxes, self._draw(vision, encoded, encoded.hidden)))
        return DecoderOutputs(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def segment(
        self,
        vision: Vision,
        features: Float[Tensor, "n l d"],
        lengths: Int64[Tensor, " n"],
        size: tuple[int, int],
        threshold: float = 0.5,
        chunk: int = _CHUNK,
    ) -> Iterator[Instances]:
        """The instances of each of N phrases in one image, after the official post-processing.

        Masks are drawn only where a query reaches the threshold, and phrases come one by one: memory holds one chunk
        and the masks of one phrase.

        Args:
            vision: One image, from `encode_images`.
            features: Text features, (N, L, D); those at padding do not matter.
            lengths: Valid tokens of each phrase, (N,).
            size: Height and width of the original image in pixels.
            threshold: Minimum score of an instance, inclusive, after rounding to 5 decimals.
            chunk: Phrases at once: memory grows with it, results do not change.

        Returns:
            N answers in order.

        Raises:
            ValueError: As `detect`.
        """
        self._check(vision, features, lengths, chunk)
        return self._segment(vision, features, lengths, size, threshold, chunk)

    @torch.no_grad()
    def _segment(
        self, vision: Vision, features: Tensor, lengths: Tensor, size: tuple[int, int], threshold: float, chunk: int
    ) -> Iterator[Instances]:
        for start in range(0, len(lengths), chunk):
            encoded = self.run_detr(vision, features[start : start + chunk], lengths[start : start + chunk])
            logits, boxes, presence = _on_cpu(encoded.queries)
            scores = official_scores(logits, presence)
            if bool(scores.isnan().any()):
                raise ValueError(
                    f"SAM3 in {str(self.dtype).removeprefix('torch.')} gives scores that are not numbers, which would "
                    "read as nothing found; use float32 or bfloat16, and text features that are finite"
                )
            kept = scores >= threshold
            drawn = kept.any(1).nonzero()[:, 0]
            masks = (
                self._draw_kept(vision, encoded, kept, drawn) if len(drawn) else encoded.hidden.new_zeros(0, 0, 1, 1)
            )
            line = {phrase: k for k, phrase in enumerate(drawn.tolist())}
            for n, chosen in enumerate(kept):
                own = masks[line[n], : int(chosen.sum())] if n in line else masks.new_zeros(0, 1, 1)
                yield finish(scores[n, chosen], boxes[n, chosen], own, size)

    def _check(self, vision: Vision, features: Tensor, lengths: Tensor, chunk: int) -> None:
        if len(vision) != 1:
            raise ValueError(f"phrases are about one image, and this vision holds {len(vision)}; give vision[i]")
        if chunk < 1:
            raise ValueError(f"chunk={chunk} must be at least 1")
        self.check_width(features.shape[-1])
        if len(features) != len(lengths):
            raise ValueError(f"text features of {len(features)} phrases with {len(lengths)} lengths; give one each")
        if len(lengths) and not 1 <= int(lengths.min()) <= int(lengths.max()) <= features.shape[1]:
            raise ValueError(f"lengths from {lengths.min()} to {lengths.max()} do not fit {features.shape[1]} tokens")

    @torch.no_grad()
    def fuse(
        self, vision: Vision, features: Float[Tensor, "n l d"], lengths: Int64[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n p d"], Float[Tensor, "n m d"], Bool[Tensor, "n m"]]:
        """The DETR encoder, where image and text meet; the first stage of `detect` and `segment`.

        Args:
            vision: One image, from `encode_images`.
            features: Text features, (N, L, D); those at padding do not matter.
            lengths: Valid tokens of each phrase, (N,).

        Returns:
            Image tokens for each phrase (N, P, D); what they attended to, text and then the geometry token (N, M, D);
            and which of that counts (N, M).
        """
        return self._fuse(vision, features, lengths)

    def _fuse(self, vision: Vision, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # Also of N phrases about an image each, with gradients for the text: see `run_detector`.
        count = len(lengths)
        longest = int(lengths.max())
        lengths = lengths.to(self.device)
        prompt = features[:, :longest].to(self.device, self.dtype)
        valid = torch.arange(longest, device=self.device) < lengths[:, None]
        if self.geometry_token:
            prompt = torch.cat([prompt, vision.token.expand(count, -1, -1)], 1)
            valid = torch.cat([valid, valid.new_ones(count, 1)], 1)
        encoder: Any = self.model.detr_encoder
        tokens = vision.tokens.expand(count, -1, -1)
        mask = create_bidirectional_mask(
            config=encoder.config, inputs_embeds=tokens, attention_mask=valid, encoder_hidden_states=prompt
        )
        # The first layer from its cross-attention on: what comes before is in `Vision`.
        first = encoder.layers[0]
        queries = first.layer_norm2(vision.tokens).expand_as(tokens)
        tokens = tokens + first.cross_attn(query=queries, key=prompt, value=prompt, attention_mask=mask)[0]
        tokens = tokens + first.mlp(first.layer_norm3(tokens))
        for layer in encoder.layers[1:]:
            tokens = layer(
                tokens, prompt_feats=prompt, vision_pos_encoding=vision.positions, prompt_cross_attn_mask=mask
            )
        return tokens, prompt, valid

    def run_detr(self, vision: Vision, features: Tensor, lengths: Tensor) -> DetrOutputs:
        """Runs the DETR encoder and decoder, without the masks.

        Args:
            vision: Of one image, or of N.
            features: Text features of N phrases, (N, L, D).
            lengths: Their valid tokens, (N,).
        """
        model = self.model
        tokens, prompt, valid = self._fuse(vision, features, lengths)
        shape = torch.tensor([vision.levels[-1].shape[-2:]])  # on the CPU, where it is read
        decoded = decode(model, tokens, vision.positions, shape, prompt, valid)
        queries = box_and_score_heads(model, decoded, prompt, valid)
        return DetrOutputs(queries, decoded.intermediate_hidden_states[-1], tokens, prompt, valid)

    def _draw(self, vision: Vision, encoded: DetrOutputs, queries: Tensor) -> Tensor:
        # The finer levels stay a batch of one: the pixel decoder adds them to each phrase's coarsest.
        return self.model.mask_decoder(
            decoder_queries=queries,
            backbone_features=list(vision.levels),
            encoder_hidden_states=encoded.tokens,
            prompt_features=encoded.prompt,
            prompt_mask=encoded.valid,
        ).pred_masks

    def _draw_kept(self, vision: Vision, encoded: DetrOutputs, kept: Tensor, drawn: Tensor) -> Tensor:
        """Masks of the kept queries alone, in order, filled up with others to the same number for every phrase.

        `kept` and `drawn` are on the CPU.
        """
        most = int(kept.sum(1).max())
        order = torch.argsort(kept[drawn].int(), dim=1, descending=True, stable=True)[:, :most].to(self.device)
        drawn = drawn.to(self.device)
        queries = encoded.hidden[drawn].gather(1, order[..., None].expand(-1, -1, encoded.hidden.shape[-1]))
        some = encoded._replace(tokens=encoded.tokens[drawn], prompt=encoded.prompt[drawn], valid=encoded.valid[drawn])
        return self._draw(vision, some, queries)


def _on_cpu(queries: Queries) -> tuple[Tensor, Tensor, Tensor]:
    """Class logits (N, Q), boxes (N, Q, 4) and presence logits (N,) of the last layer, in one copy from the device."""
    logits, boxes, presence = (part[-1].float() for part in queries)
    told = torch.cat([boxes, logits[..., None], presence[:, None, None].expand(-1, logits.shape[1], 1)], -1).cpu()
    return told[..., 4].contiguous(), told[..., :4], told[:, 0, 5].contiguous()
