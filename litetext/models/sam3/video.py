"""A frozen SAM3 for videos: its own detector and tracker, text features from outside.

    frame ─ vision, tracker features, geometry token: once ─┐
    phrases of every text encoder, each in its own session ─┴─► masklets

`transformers.Sam3VideoModel` does the work. Here it takes text features of any encoder; phrases, which share object
numbers and the encoding of memories within a session, get one session each; frames are read one at a time; what a
session no longer needs is dropped after every frame. SAM 3: Carion et al. 2025.
"""

import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate
from transformers import Sam3VideoModel
from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoInferenceSession

from litetext.checkpoints.reading import open_state
from litetext.models.hub import load_pretrained
from litetext.models.sam3.forward import geometry_token
from litetext.models.sam3.frozen import FrozenSam3, find_sam3, squares
from litetext.models.sam3.video_memory import park_session, prune_session
from litetext.models.sam3.video_patches import patch_kernels
from litetext.models.text.encoder import TextBatch
from litetext.saco.mask_threads import MaskThreads
from litetext.saco.masks import Rle, encode_masks
from litetext.saco.videos import masklet_entry

_TEXT = ("detector_model.text_encoder.", "detector_model.text_projection.")


@runtime_checkable
class VideoFrames(Protocol):
    """Frames of a video: uint8 (3, H, W) in order, all of one size; may be iterated over again."""

    def __len__(self) -> int:
        """Frames."""
        ...

    def __iter__(self) -> Iterator[Tensor]:
        """The frames, one at a time."""
        ...


class _SharedVision(NamedTuple):
    """What is computed of a frame before any phrase."""

    vision: Any
    tracker: Any
    token: Tensor | None


class _Model(Sam3VideoModel):
    """Sam3VideoModel that looks at a frame once for all sessions, and keeps masks with their objects.

    As published, masks and tracker scores of a frame are matched with the object numbers that are left after removals,
    so that on the frame of a removal they belong to the next object. Meta's code matches them with those from before.
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.seen: _SharedVision | None = None
        self.before: list[int] = []
        detector: Any = self.detector_model
        self.look_at = detector.get_vision_features
        detector.get_vision_features = self._vision

    def _vision(self, pixel_values: Tensor, **_: Any) -> Any:
        return self.look_at(pixel_values=pixel_values) if self.seen is None else self.seen.vision

    def look(self, pixels: Tensor, token: bool) -> None:
        """Takes the next frame, normalised (3, S, S), and with `token` computes its geometry token."""
        self.seen = None
        vision = self.look_at(pixel_values=pixels[None])
        level, where = vision.fpn_hidden_states[:-1][-1], vision.fpn_position_encoding[:-1][-1][:1]
        detector: Any = self.detector_model
        one = geometry_token(detector, level, where) if token else None
        self.seen = _SharedVision(vision, super().get_vision_features_for_tracker(vision), one)

    def get_vision_features_for_tracker(self, vision_embeds: Any) -> Any:
        """Shared by all sessions, as the detector's."""
        return super().get_vision_features_for_tracker(vision_embeds) if self.seen is None else self.seen.tracker

    def run_tracker_propagation(self, inference_session: Any, frame_idx: int, reverse: bool) -> Any:
        """Remembers which objects the masks belong to."""
        self.before = list(inference_session.obj_ids)
        return super().run_tracker_propagation(inference_session, frame_idx, reverse)

    def build_outputs(self, inference_session: Any, *args: Any, **options: Any) -> dict[int, Tensor]:
        """Masks by object."""
        # All that is read of the session there are its object numbers.
        return super().build_outputs(SimpleNamespace(obj_ids=self.before), *args, **options)  # type: ignore[arg-type]

    def _det_track_one_frame(self, inference_session: Any, frame_idx: int, *args: Any, **options: Any) -> Any:
        masks, scores, table, tracked = super()._det_track_one_frame(inference_session, frame_idx, *args, **options)
        alive = set(table["obj_ids"])
        own = dict(zip(self.before, tracked, strict=True)) if len(tracked) else {}
        table["obj_id_to_tracker_score_frame_wise"][frame_idx] = {
            number: own.get(number, scores[number]) for number in table["obj_ids"]
        }
        return {number: part for number, part in masks.items() if number in alive}, scores, table, tracked


class _CurrentFrame:
    """The frames of a session: their number is known, and only one is there."""

    def __init__(self, count: int) -> None:
        self.count, self.pixels = count, torch.empty(0)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, _: int) -> Tensor:
        return self.pixels


@dataclass
class _PhraseSession:
    """One phrase of one text encoder in a video.

    Attributes:
        session: The tracker's state.
        threads: They make run lengths of masks.
        parked: Between frames its memories and masks lie on the CPU.
        features: Text features, (1, L, D), without padding.
        waiting: Outputs of frames in which an object may still turn out to be none (hotstart).
        masks: Run-length masks of each object, by frame; None where it is out of sight.
        scores: Detection score of each object.
        gone: Objects that turned out to be none.
    """

    session: Any
    features: Tensor
    threads: MaskThreads
    parked: bool = False
    waiting: list[Any] = field(default_factory=list)
    masks: dict[int, dict[int, Future[Rle | None]]] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)

    def step(self, model: _Model, frame: int, size: tuple[int, int]) -> None:
        """Tracks through the next frame; keeps what no later frame can take back."""
        token = None if model.seen is None else model.seen.token
        features = self.features if token is None else torch.cat([self.features, token], 1)
        session: Any = self.session
        session.prompt_embeddings[0] = SimpleNamespace(pooler_output=features)
        session.prompt_attention_masks[0] = torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)
        out: Any = model(inference_session=session, frame_idx=frame)
        self.gone |= out.removed_obj_ids
        prune_session(session, frame, model)
        if self.parked:
            park_session(session)
            out.obj_id_to_mask = {number: part.cpu() for number, part in out.obj_id_to_mask.items()}
        self.waiting.append(out)
        last = frame == len(session.processed_frames) - 1
        while self.waiting and (last or len(self.waiting) >= model.hotstart_delay):
            self._keep(self.waiting.pop(0), size)

    def _keep(self, out: Any, size: tuple[int, int]) -> None:
        """Masks of one frame at the size of the video, as `Sam3VideoProcessor.postprocess_outputs` makes them."""
        hidden = self.gone | set(out.suppressed_obj_ids or ())
        numbers = [number for number in sorted(out.obj_id_to_mask) if number not in hidden]
        if not numbers:
            return
        device = self.session.inference_device
        low = torch.cat([out.obj_id_to_mask[number] for number in numbers])[:, None].to(device).float()
        full = interpolate(low, size, mode="bilinear", align_corners=False)[:, 0] > 0
        visible = full.flatten(1).any(1).tolist()
        numbers = [number for number, there in zip(numbers, visible, strict=True) if there]
        if not numbers:
            return
        full = full[torch.tensor(visible, device=full.device)]
        if len(numbers) > 1:  # a pixel is of one object: the one the tracker is most sure of
            sure = torch.tensor([out.obj_id_to_tracker_score[number] for number in numbers], device=full.device)
            best = (full * sure[:, None, None]).argmax(0)
            full &= best == torch.arange(len(numbers), device=full.device)[:, None, None]
        for number, one in zip(numbers, full.cpu().numpy(), strict=True):
            self.scores[number] = float(out.obj_id_to_score[number])
            self.masks.setdefault(number, {})[out.frame_idx] = self.threads.submit(one.nbytes, _encode, one)

    def entries(self, frames: int) -> list[dict[str, Any]]:
        """The masklets, in the order in which they began."""
        seen = {
            number: {t: mask for t, part in self.masks[number].items() if (mask := part.result()) is not None}
            for number in sorted(self.masks)
        }
        return [masklet_entry(self.scores[number], masks, frames) for number, masks in seen.items() if masks]


def _encode(mask: np.ndarray) -> Rle | None:
    return encode_masks(mask[None])[0] if mask.any() else None


class Sam3Video(FrozenSam3):
    """A frozen SAM3 with its tracker, always in eval mode, that takes text features of any encoder.

    `from_pretrained` takes a folder of Sam3VideoModel, or a hub id (`facebook/sam3`).

    Args:
        model: A Sam3VideoModel of `from_pretrained`.
        geometry_token: Append the geometry encoder's token to every phrase, as Meta's SAM3 does; `False` gives what
            transformers computes.
        processor: Image processor of the checkpoint; None resizes to the model's square and scales to -1..1.
    """

    @classmethod
    def _load(cls, name: str | os.PathLike[str], folder: Path, dtype: torch.dtype) -> Any:
        if not has_tracker(name):
            raise ValueError(f"{name} has no weights of SAM3's tracker; a folder of Sam3VideoModel has them")
        model = load_pretrained(_Model.from_pretrained, folder, "SAM3 for videos", _TEXT, dtype=dtype)
        del model.detector_model.text_encoder, model.detector_model.text_projection
        return model

    def share(self, detector: nn.Module) -> None:
        """Takes the detector of the same checkpoint that is loaded already, in place of its own copy.

        Args:
            detector: The model of a `Sam3Image`.
        """
        for name, part in detector.named_children():
            setattr(self.model.detector_model, name, part)

    def track(
        self, frames: VideoFrames, features: Mapping[str, TextBatch], chunk: int = 16
    ) -> dict[str, list[list[dict[str, Any]]]]:
        """The masklets of every phrase; those of one phrase do not depend on the others.

        An object that SAM3 takes back within its hotstart (15 frames as published) appears in no frame. Its score is
        that of its first detection; where it is out of sight it has no mask, an empty box and area 0.

        Args:
            frames: The video.
            features: Features of its phrases, by text encoder; every encoder has the same phrases.
            chunk: Phrases whose memories stay on the device. With more of them, those of all phrases lie on the CPU
                between frames, about 20 MB an object of SAM3 at full size. Results do not change.

        Returns:
            By text encoder, for each phrase, entries of the official predictions layout without ids.

        Raises:
            ValueError: Features of the wrong width, a length or `chunk` is out of its range, or a frame cannot be read
                or has another size than the first.
        """
        if chunk < 1:
            raise ValueError(f"chunk={chunk} must be at least 1")
        for name, batch in features.items():
            self.check_width(batch.features.shape[-1], f"text encoder {name}")
            tokens = batch.features.shape[1]
            if any(not 1 <= length <= tokens for length in batch.lengths.tolist()):
                raise ValueError(f"text encoder {name}: lengths {batch.lengths.tolist()} do not fit {tokens} tokens")
        counts = {len(batch.lengths) for batch in features.values()}
        if len(counts) > 1:
            raise ValueError(f"text encoders with {sorted(counts)} phrases; give each the same")
        if not max(counts, default=0):
            return {name: [] for name in features}
        threads = MaskThreads()
        try:
            return self._track(frames, features, max(counts) > chunk, threads)
        finally:
            threads.close()

    @torch.inference_mode()
    def _track(
        self, frames: VideoFrames, features: Mapping[str, TextBatch], parked: bool, threads: MaskThreads
    ) -> dict[str, list[list[dict[str, Any]]]]:
        shared, size = _CurrentFrame(len(frames)), None
        pairs: dict[str, list[_PhraseSession]] = {}
        try:
            with patch_kernels():
                for t, image in enumerate(frames):
                    size = size or (int(image.shape[1]), int(image.shape[2]))
                    if tuple(image.shape[1:]) != size:
                        raise ValueError(f"frame {t} has {tuple(image.shape[1:])} pixels, the first has {size}")
                    if not pairs:
                        pairs = {
                            name: [_PhraseSession(*one, threads, parked) for one in self._open(batch, shared, size)]
                            for name, batch in features.items()
                        }
                    shared.pixels = self._prepare(image)
                    self.model.look(shared.pixels, self.geometry_token)
                    for pair in (pair for own in pairs.values() for pair in own):
                        pair.step(self.model, t, size)
        finally:
            self.model.seen = None
        if not pairs:  # there was no frame
            return {name: [[] for _ in batch.lengths] for name, batch in features.items()}
        return {name: [pair.entries(len(frames)) for pair in own] for name, own in pairs.items()}

    def _prepare(self, image: Tensor) -> Tensor:
        pixels = squares(self.processor, [image.to(self.device)])[0]
        if tuple(pixels.shape[1:]) != (self.size, self.size):
            raise ValueError(
                f"frames become {tuple(pixels.shape[1:])} pixels, and this SAM3 takes {self.size} x {self.size}; "
                "give the checkpoint's image processor that size"
            )
        return pixels.to(self.device, self.dtype)

    def _open(
        self, batch: TextBatch, frames: _CurrentFrame, size: tuple[int, int]
    ) -> Iterator[tuple[Any, Float[Tensor, "1 l d"]]]:
        """A session of each phrase, and its features without padding."""
        for rows, length in zip(batch.features, batch.lengths.tolist(), strict=True):
            session: Any = Sam3VideoInferenceSession(
                video_height=size[0],
                video_width=size[1],
                inference_device=self.device,
                inference_state_device=self.device,
                video_storage_device=self.device,
                dtype=self.dtype,
            )
            session.processed_frames = frames
            session.add_prompt("")
            yield session, rows[None, :length].to(self.device, self.dtype)


def has_tracker(name: str | os.PathLike[str]) -> bool:
    """Whether a SAM3 brings a tracker: `model_type` sam3_video, and weights of it.

    Args:
        name: A folder in transformers' layout, or a hub id.

    Raises:
        FileNotFoundError: If there is no such folder, and no such model on the hub.
    """
    folder = find_sam3(name)
    try:
        about = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    if not isinstance(about, dict) or about.get("model_type") != "sam3_video":
        return False
    try:
        return any(key.startswith("tracker_model.") for key in open_state(folder).keys)
    except (FileNotFoundError, ValueError):
        return True  # loading it says what is wrong with it
