"""ShapesDataModule: scenes with phrases and targets, for training the tiny SAM3."""

import math
import random
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d
from torch.utils.data import DataLoader, Dataset

from litetext.data.drawn.datamodule import DrawnDataModule
from litetext.data.options import check_minimum
from litetext.data.shapes.phrases import VALUES
from litetext.data.shapes.world import FIRST_HELD_OUT, SIZE, ShapePhrase, ShapeScene, draw_phrases, draw_scene, render
from litetext.tokenizer import TokenBatch, Tokenizer


class ShapesBatch(NamedTuple):
    """B images with N phrases, T targets in all.

    Attributes:
        pixels: Images scaled to -1..1, (B, 3, S, S).
        image: Which image a phrase is about, (N,).
        tokens: The phrases, (N, L).
        owner: Which phrase a target belongs to, (T,), ascending.
        masks: The targets' masks, bool (T, S, S).
        boxes: The targets' boxes as cx, cy, w, h in 0..1, (T, 4).
        cells: For colour, kind, size and pattern, the value of the shape that fills a cell of 8 x 8 pixels; -1 where
            none does, (B, 4, S/8, S/8).
        meaning: For the same four, the value that a phrase names; the number of values where it names none, (N, 4).
        number: The phrases' numbers, for counting each once, (N,).
    """

    pixels: Tensor
    image: Tensor
    tokens: TokenBatch
    owner: Tensor
    masks: Tensor
    boxes: Tensor
    cells: Tensor
    meaning: Tensor
    number: Tensor


class ShapesDataset(Dataset):
    """Whole batches by number; batch i holds the scenes `first + i * images` and the following.

    Args:
        batches: How many.
        images: Images a batch.
        phrases: Phrases an image.
        first: Number of the first scene.
    """

    def __init__(self, batches: int, images: int, phrases: int, first: int) -> None:
        self.batches, self.images, self.phrases, self.first = batches, images, phrases, first
        self.tokenizer = Tokenizer(32)

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, step: int) -> ShapesBatch:
        """The batch of this step."""
        numbers = [self.first + step * self.images + k for k in range(self.images)]
        scenes = [draw_scene(number) for number in numbers]
        drawn = [
            draw_phrases(scene, self.phrases, random.Random(f"phrases {number}"))
            for scene, number in zip(scenes, numbers, strict=True)
        ]
        return _collate(scenes, drawn, numbers, self.tokenizer)


def _collate(
    scenes: list[ShapeScene], drawn: list[list[ShapePhrase]], numbers: list[int], tokenizer: Tokenizer
) -> ShapesBatch:
    pixels = np.stack([render(scene) for scene in scenes])
    shape_masks = [np.stack([shape.mask() for shape in scene.shapes]) for scene in scenes]
    flat = [(b, phrase) for b, phrases in enumerate(drawn) for phrase in phrases]
    owner = [n for n, (_, phrase) in enumerate(flat) for _ in phrase.targets]
    masks = [shape_masks[b][t] for b, phrase in flat for t in phrase.targets]
    names = list(VALUES)
    meaning = [
        [len(VALUES[n]) if v is None else VALUES[n].index(v) for n, v in zip(names, phrase.meaning, strict=True)]
        for _, phrase in flat
    ]
    return ShapesBatch(
        pixels=torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1,
        image=torch.tensor([b for b, _ in flat]),
        tokens=tokenizer([phrase.text for _, phrase in flat]),
        owner=torch.tensor(owner, dtype=torch.int64),
        masks=torch.from_numpy(np.stack(masks)) if masks else torch.zeros(0, SIZE, SIZE, dtype=torch.bool),
        boxes=torch.tensor([_box(mask) for mask in masks]).view(-1, 4),
        cells=torch.stack([_cells(scene, m) for scene, m in zip(scenes, shape_masks, strict=True)]),
        meaning=torch.tensor(meaning),
        number=torch.tensor(
            [number * 100 + k for number, p in zip(numbers, drawn, strict=True) for k in range(len(p))]
        ),
    )


def _box(mask: np.ndarray) -> list[float]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    return [(left + right) / 2 / SIZE, (top + bottom) / 2 / SIZE, (right - left) / SIZE, (bottom - top) / SIZE]


def _cells(scene: ShapeScene, masks: np.ndarray) -> Tensor:
    cover = avg_pool2d(torch.from_numpy(masks).float().unsqueeze(1), 8).squeeze(1)
    share, which = cover.max(0)
    values = [[VALUES[n].index(v) for n, v in zip(VALUES, s.values, strict=True)] for s in scene.shapes]
    labels = torch.tensor(values).T[:, which]
    return labels.masked_fill(share < 0.4, -1)


class ShapesDataModule(DrawnDataModule):
    """The world of shapes as training and held-out batches.

    Args:
        steps: Training steps, each on its own scenes.
        images: Images a step.
        phrases: Phrases an image; half of them negatives.
        val_images: Held-out images.
        val_phrases: Phrases a held-out image.
        seed: Seed of the training scenes.
        num_workers: Processes that paint ahead.

    Raises:
        ValueError: If a count is below 1, or there would be more training scenes than numbers for them.
    """

    def __init__(
        self,
        steps: int = 8000,
        images: int = 6,
        phrases: int = 4,
        val_images: int = 60,
        val_phrases: int = 4,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__(images, phrases, val_images, val_phrases, seed, num_workers)
        check_minimum(1, data__steps=steps)
        self.steps = steps
        self.check_numbers(FIRST_HELD_OUT)

    def train_dataloader(self) -> DataLoader:
        """One epoch is the whole run; continues where a resumed run stopped."""
        data = ShapesDataset(self.steps, self.images, self.phrases, self.seed * self.steps * self.images)
        return self.resumable(data)

    def val_dataloader(self) -> DataLoader:
        """The held-out scenes, one image a batch entry, the same for every seed."""
        images = math.gcd(self.images, self.val_images)  # batches of one size that leave none out
        data = ShapesDataset(self.val_images // images, images, self.val_phrases, FIRST_HELD_OUT)
        return DataLoader(data, batch_size=None, num_workers=0)
