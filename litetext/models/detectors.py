"""Zero-shot detectors of transformers: boxes for phrases, by Grounding DINO, MM Grounding DINO (LLMDet) and OWLv2.

What depends on the image alone is computed once an image: OWLv2's whole vision tower, and the backbone of the Grounding
DINOs, whose encoder mixes image and phrase. Scores and boxes are those of transformers' own post-processing.
"""

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

from litetext.models.finite import check_weights
from litetext.models.hub import TEXT_FILES, explained, find_model, load_pretrained
from litetext.saco.instances import Instances
from litetext.shipped import shipped

_PROCESSOR_FILES = ("*.json", "vocab.txt", "merges.txt")


def calibrate(scores: Float64[Tensor, " k"], threshold: float) -> Float64[Tensor, " k"]:
    """Scores with which a detector's own threshold becomes 0.5, from which on SA-Co counts.

    Linear below it and above it: order, 0 and 1 stay. With a threshold of 0.5 nothing changes.

    Args:
        scores: In [0, 1].
        threshold: The detector's own, between 0 and 1.
    """
    above = 0.5 + (scores - threshold) * (0.5 / (1 - threshold))
    return _rounded(torch.where(scores >= threshold, above, scores * (0.5 / threshold)))


def uncalibrate(score: float, threshold: float) -> float:
    """The detector's own score that `calibrate` makes this one of."""
    return threshold + (score - 0.5) * 2 * (1 - threshold) if score >= 0.5 else score * 2 * threshold


class Detector(nn.Module, ABC):
    """A zero-shot detector of transformers: the boxes of what phrases name.

    Attributes:
        usual_threshold: The score from which on the SAM 3 paper (arXiv 2511.16719, section F.1) counts its detections.

    Args:
        model: The model of transformers; its parameters are frozen.
        processor: Its processor.
    """

    usual_threshold: float

    def __init__(self, model: Any, processor: Any) -> None:
        super().__init__()
        self.model = model
        self.images, self.tokenizer = processor.image_processor, processor.tokenizer
        self.requires_grad_(False).eval()

    @property
    @abstractmethod
    def text(self) -> nn.Module:
        """The text encoder, and the projection of its features."""

    def settings(self) -> str:
        """All that decides its answers besides its weights."""
        return f"{self.model.config.to_json_string()} {self.images.to_json_string()} {_vocabulary(self.tokenizer)}"

    @torch.no_grad()
    def detect(
        self, image: UInt8[Tensor, "3 h w"], phrases: Sequence[str], threshold: float, chunk: int = 16
    ) -> list[Instances]:
        """Finds objects for each phrase.

        Args:
            image: RGB, uint8 (3, H, W).
            phrases: Noun phrases.
            threshold: Minimum score, inclusive, after rounding to 5 decimals.
            chunk: Prompts at once: memory grows with it, results do not change.
        """
        seen = self.images([image], return_tensors="pt", input_data_format="channels_first").to(self.model.device)
        return list(self._find(image, seen, phrases, threshold, chunk))

    @abstractmethod
    def _find(
        self, image: Tensor, seen: Any, phrases: Sequence[str], threshold: float, chunk: int
    ) -> Iterator[Instances]:
        """The instances of each phrase, in order."""

    @abstractmethod
    def prompt_bytes(self, height: int, width: int) -> int:
        """Memory that one more prompt in a chunk takes at its peak, estimated, for an image of this size."""


class GroundingDino(Detector):
    """Grounding DINO, and MM Grounding DINO with LLMDet's weights.

    A prompt is lower-case text in which every phrase ends with ".". The score of a box for a phrase is the largest
    probability among the phrase's tokens; with one phrase a prompt that is the score of transformers.

    Attributes:
        usual_threshold: The score from which on the SAM 3 paper (arXiv 2511.16719, section F.1) counts detections of
            Grounding DINO tiny and of LLMDet, the best of 0.1, 0.2, ... on LVIS. (For Grounding DINO base it is 0.2.)

    Args:
        model: The model of transformers; its parameters are frozen.
        processor: Its processor.
        together: Phrases a prompt, fewer where they exceed the model's text length. Phrases of one prompt compete:
            SAM 3's authors found 30 a prompt much better on SA-Co Gold than one (section F.1). What is predicted
            for a phrase then depends on its neighbours.
    """

    usual_threshold = 0.4

    def __init__(self, model: Any, processor: Any, together: int = 1) -> None:
        super().__init__(model, processor)
        self.together = together
        self.model.model.backbone = _SeenOnce(self.model.model.backbone).eval()

    @property
    def text(self) -> nn.Module:
        """BERT, and the projection of its features."""
        return nn.ModuleList([self.model.model.text_backbone, self.model.model.text_projection])

    def settings(self) -> str:
        """All that decides its answers besides its weights."""
        return f"{super().settings()} {self.together}"

    def _find(
        self, image: Tensor, seen: Any, phrases: Sequence[str], threshold: float, chunk: int
    ) -> Iterator[Instances]:
        device = self.model.device
        pixels, mask = seen["pixel_values"], seen["pixel_mask"]
        backbone: _SeenOnce = self.model.model.backbone
        prompts = list(self._prompts(phrases))
        try:
            backbone.see(pixels, mask)
            for start in range(0, len(prompts), chunk):
                part = prompts[start : start + chunk]
                ids = pad_sequence([torch.tensor(p.ids) for p in part], True, self.tokenizer.pad_token_id)
                valid = pad_sequence([torch.ones(len(p.ids), dtype=torch.long) for p in part], True)
                output = self.model(
                    pixel_values=pixels.expand(len(part), -1, -1, -1),
                    pixel_mask=mask.expand(len(part), -1, -1),
                    input_ids=ids.to(device),
                    attention_mask=valid.to(device),
                )
                for prompt, logits, boxes in zip(
                    part, output.logits.sigmoid().cpu(), output.pred_boxes.cpu(), strict=True
                ):
                    for a, b in prompt.spans:
                        yield _kept(logits[:, a:b].amax(1), boxes, threshold)
        finally:
            backbone.clear_cache()

    def _prompts(self, phrases: Sequence[str]) -> Iterator["_Prompt"]:
        tokens = self.tokenizer
        stop = tokens.convert_tokens_to_ids(".")
        most = self.model.config.max_text_len - 2  # for [CLS] and [SEP]
        rows = []
        for phrase in phrases:
            bare = phrase.lower().strip().removesuffix(".")
            rows.append([*tokens(bare, add_special_tokens=False)["input_ids"][: most - 1], stop])
        group: list[list[int]] = []
        for row in rows:
            if group and (len(group) == self.together or sum(map(len, group)) + len(row) > most):
                yield _Prompt.of(group, tokens.cls_token_id, tokens.sep_token_id)
                group = []
            group.append(row)
        if group:
            yield _Prompt.of(group, tokens.cls_token_id, tokens.sep_token_id)

    def prompt_bytes(self, height: int, width: int) -> int:
        """Memory that one more prompt in a chunk takes at its peak, estimated, for an image of this size.

        P image tokens hold 10 rows of width D, and the larger of twice a feed-forward layer's inner values and of what
        deformable attention samples: three copies of (levels x points) rows, with places and weights for each head.
        """
        config = self.model.config
        size = self.images.size
        short, long = size.get("shortest_edge") or size["height"], size.get("longest_edge") or size["width"]
        scale = min(short / min(height, width), long / max(height, width))
        strides = [8 * 2**level for level in range(config.num_feature_levels)]
        tokens = sum((int(height * scale) // s + 1) * (int(width * scale) // s + 1) for s in strides)
        samples = config.num_feature_levels * config.encoder_n_points
        sampled = 3 * samples * (config.d_model + config.encoder_attention_heads)
        return 4 * tokens * (10 * config.d_model + max(2 * config.encoder_ffn_dim, sampled))


class _Prompt(NamedTuple):
    """Tokens of a prompt, and from where to where each of its phrases goes; start and end belong to the outer ones."""

    ids: list[int]
    spans: list[tuple[int, int]]

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]], first: int, last: int) -> "_Prompt":
        ids, ends = [first], [0]
        for row in rows:
            ids += row
            ends.append(len(ids))
        ids.append(last)
        ends[-1] = len(ids)
        return cls(ids, list(pairwise(ends)))


class _SeenOnce(nn.Module):
    """A vision backbone that looks at one image once and shows it to any number of prompts."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.seen: tuple[list[tuple[Tensor, Tensor]], list[Tensor]] | None = None

    @property
    def position_embedding(self) -> Any:
        """Asked for by the model, for the levels above the backbone's."""
        return self.backbone.position_embedding

    def see(self, pixels: Tensor, mask: Tensor) -> None:
        """Looks at a batch of one image."""
        self.seen = self.backbone(pixels, mask)

    def clear_cache(self) -> None:
        """Frees its memory."""
        self.seen = None

    def forward(self, pixels: Tensor, mask: Tensor) -> tuple[list[tuple[Tensor, Tensor]], list[Tensor]]:
        """What was seen, for as many prompts as the batch says."""
        if self.seen is None:
            return self.backbone(pixels, mask)
        levels, places = self.seen
        n = len(pixels)
        return (
            [(level.expand(n, -1, -1, -1), where.expand(n, -1, -1)) for level, where in levels],
            [place.expand(n, -1, -1, -1) for place in places],
        )


class Owlv2(Detector):
    """OWLv2. A prompt is a bare phrase; its score for a box is the sigmoid of the class logit.

    Attributes:
        usual_threshold: The score from which on the SAM 3 paper (arXiv 2511.16719, section F.1) counts detections of
            `google/owlv2-large-patch14`. (For the ensemble checkpoint it is 0.3.)

    Args:
        model: The model of transformers; its parameters are frozen.
        processor: Its processor.
    """

    usual_threshold = 0.2

    def __init__(self, model: Any, processor: Any) -> None:
        super().__init__(model, processor)
        self.known: dict[str, Tensor] = {}

    @property
    def text(self) -> nn.Module:
        """The CLIP text transformer, and the projection of its feature."""
        return nn.ModuleList([self.model.owlv2.text_model, self.model.owlv2.text_projection])

    def _find(
        self, image: Tensor, seen: Any, phrases: Sequence[str], threshold: float, chunk: int
    ) -> Iterator[Instances]:
        device = self.model.device
        features = self.model.image_embedder(seen["pixel_values"])[0]
        tokens = features.flatten(1, 2)
        # Boxes are fractions of the square that the image was padded to.
        height, width = image.shape[1:]
        scale = torch.tensor([width, height, width, height], device=device) / max(height, width)
        boxes = (self.model.box_predictor(tokens, features)[0] / scale).cpu()
        for start in range(0, len(phrases), chunk):
            queries = self._queries(phrases[start : start + chunk]).to(device)
            logits = self.model.class_predictor(tokens, queries[None])[0][0]
            for scores in logits.float().sigmoid().T.cpu():
                yield _kept(scores, boxes, threshold)

    def _queries(self, phrases: Sequence[str]) -> Tensor:
        """Normalised features of phrases, (N, D); each distinct one is encoded once."""
        new = [phrase for phrase in dict.fromkeys(phrases) if phrase not in self.known]
        if new:
            config = self.model.config.text_config
            said = self.tokenizer(
                new,
                padding="max_length",
                truncation=True,
                max_length=config.max_position_embeddings,
                return_tensors="pt",
            ).to(self.model.device)
            features = self.model.owlv2.get_text_features(said["input_ids"], said["attention_mask"]).pooler_output
            self.known |= zip(new, (features / features.norm(dim=-1, keepdim=True)).cpu(), strict=True)
        return torch.stack([self.known[phrase] for phrase in phrases])

    def prompt_bytes(self, height: int, width: int) -> int:
        """Memory that one more phrase in a chunk takes at its peak, estimated: text, or scores of all patches."""
        text, patches = self.model.config.text_config, len(self.model.box_bias)
        inner = 2 * text.intermediate_size + 8 * text.hidden_size
        return 4 * max(text.max_position_embeddings * inner, 4 * patches)


def load_detector(name: str | os.PathLike[str], together: int = 1) -> Detector:
    """Loads a zero-shot detector in transformers' layout, in float32 and eval mode.

    Args:
        name: A folder, or a hub id (`IDEA-Research/grounding-dino-tiny`, `google/owlv2-large-patch14`,
            `iSEE-Laboratory/llmdet_large`).
        together: Phrases a prompt, see `GroundingDino`; OWLv2 always reads each alone.

    Raises:
        FileNotFoundError: If there is no such folder, and no such model on the hub.
        ValueError: If the folder holds something else, or weights are missing, cannot be read or are not finite.
    """
    folder = find_model(shipped(os.fspath(name)), "detector", (*TEXT_FILES, *_PROCESSOR_FILES), "a local folder")
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"{folder} is no detector in transformers' layout: it has no readable config.json") from error
    if kind not in ("grounding-dino", "mm-grounding-dino", "owlv2"):
        raise ValueError(f"{folder} is a {kind!r}; detectors are grounding-dino, mm-grounding-dino (LLMDet) and owlv2")
    load = AutoModelForZeroShotObjectDetection.from_pretrained
    model = load_pretrained(load, folder, "detector", dtype=torch.float32, use_safetensors=True)
    processor = explained(AutoProcessor.from_pretrained, folder, "detector")
    check_weights(model, f"detector {folder}")
    return Owlv2(model, processor) if kind == "owlv2" else GroundingDino(model, processor, together)


def _vocabulary(tokenizer: Any) -> str:
    """What a tokenizer is, as text."""
    fast = getattr(tokenizer, "backend_tokenizer", None)
    settings = fast.to_str() if fast is not None else json.dumps(sorted(tokenizer.get_vocab().items()))
    return hashlib.blake2b(f"{type(tokenizer).__name__} {settings}".encode(), digest_size=16).hexdigest()


def _kept(scores: Float[Tensor, " q"], boxes: Float[Tensor, "q 4"], threshold: float) -> Instances:
    """The queries that reach the threshold; boxes cx, cy, w, h become x, y, w, h."""
    scores, boxes = _rounded(scores), boxes.cpu()
    if bool(scores.isnan().any()):
        raise ValueError("a detector gives scores that are not numbers; its weights are damaged, take another one")
    chosen = scores >= threshold
    centre, extent = boxes[chosen].split(2, -1)
    return Instances(scores[chosen], _rounded(torch.cat([centre - extent / 2, extent], -1)))


def _rounded(values: Tensor) -> Tensor:
    return values.cpu().double().mul(1e5).round().div(1e5)  # a device may have no float64
