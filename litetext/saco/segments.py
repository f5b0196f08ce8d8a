"""What `Segmenter` returns for one phrase in one image."""

import importlib
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float64
from pycocotools import mask
from torch import Tensor

from litetext.saco.masks import Rle, encode_masks

_rle: Any = mask  # its annotations are wrong


class Segments:
    """The k instances of one phrase in one image, in pixels, the highest score first; there may be none.

    Args:
        phrase: The phrase.
        scores: k scores in 0..1.
        xywh: k boxes [x, y, width, height] in pixels of the image.
        masks: One bool tensor (k, H, W), or k run-length masks; the other form is made when it is asked for.
        size: Height and width of the image in pixels.

    Attributes:
        phrase: The phrase.
        scores: From 0 to 1, float64 (k,).
        xywh: Boxes [x, y, width, height] in pixels, float64 (k, 4).
        size: Height and width of the image in pixels.
    """

    def __init__(
        self,
        phrase: str,
        scores: Tensor | Sequence[float],
        xywh: Tensor | Sequence[Sequence[float]],
        masks: Tensor | Sequence[Rle],
        size: tuple[int, int],
    ) -> None:
        self.phrase, self.size = phrase, size
        self.scores: Float64[Tensor, " k"] = torch.as_tensor(scores, dtype=torch.float64)
        self.xywh: Float64[Tensor, "k 4"] = torch.as_tensor(xywh, dtype=torch.float64).reshape(-1, 4)
        self._masks = masks if isinstance(masks, Tensor) else None
        self._rles = None if isinstance(masks, Tensor) else list(masks)

    def __len__(self) -> int:
        """Instances."""
        return len(self.scores)

    def __repr__(self) -> str:
        """The phrase and its scores."""
        return f"Segments({self.phrase!r}, scores={[round(score, 3) for score in self.scores.tolist()]})"

    @property
    def boxes(self) -> Float64[Tensor, "k 4"]:
        """Left, top, right and bottom in pixels of the image."""
        corner, extent = self.xywh.split(2, -1)
        return torch.cat([corner, corner + extent], -1)

    @property
    def masks(self) -> Bool[Tensor, "k h w"]:
        """Masks of the image's size, on the CPU."""
        if self._masks is None:
            self._masks = torch.zeros(len(self), *self.size, dtype=torch.bool)
            for n, one in enumerate(self.rles):
                self._masks[n] = torch.from_numpy(_rle.decode(one).astype(bool))
        return self._masks

    @property
    def rles(self) -> list[Rle]:
        """The masks in run lengths of pycocotools."""
        if self._rles is None:
            self._rles = encode_masks(self.masks.numpy())
        return self._rles

    def take(self, chosen: Iterable[int]) -> "Segments":
        """Some of them, by position."""
        which = list(chosen)
        masks = [self.rles[n] for n in which] if self._masks is None else self._masks[which]
        return Segments(self.phrase, self.scores[which], self.xywh[which], masks, self.size)

    def to_coco(self, image_id: int = 0, category_id: int = 1, first_id: int = 1) -> list[dict[str, Any]]:
        """Annotations in COCO's layout, with scores and compressed run lengths, ready for JSON.

        Args:
            image_id: Id of the image.
            category_id: Id of the phrase's category.
            first_id: Id of the first annotation; the others count on.
        """
        return [
            {
                "id": first_id + n,
                "image_id": image_id,
                "category_id": category_id,
                "segmentation": {**rle, "counts": counts.decode() if isinstance(counts, bytes) else counts},
                "area": int(_rle.area(rle)),
                "bbox": box,
                "iscrowd": 0,
                "score": score,
            }
            for n, (rle, box, score) in enumerate(zip(self.rles, self.xywh.tolist(), self.scores.tolist(), strict=True))
            for counts in [rle["counts"]]
        ]

    def to_supervision(self, class_id: int = 0) -> Any:
        """As `supervision.Detections`, whose annotators and trackers then take it.

        Args:
            class_id: Number of the phrase among the queries.

        Raises:
            ValueError: supervision is not installed.
        """
        try:
            supervision = importlib.import_module("supervision")  # no dependency, so types do not know it
        except ModuleNotFoundError as error:
            raise ValueError("to_supervision needs the package supervision: pip install supervision") from error
        import numpy as np

        return supervision.Detections(
            xyxy=self.boxes.numpy(),
            mask=self.masks.numpy(),
            confidence=self.scores.numpy(),
            class_id=np.full(len(self), class_id),
            data={"class_name": np.array([self.phrase] * len(self), dtype=object)},
        )
