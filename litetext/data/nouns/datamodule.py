"""NounsDataModule: scenes of nouns with phrases and targets, for training a tiny SAM3 in three stages."""

import random
from typing import NamedTuple

from torch.utils.data import DataLoader, Dataset

from litetext.data.drawn.datamodule import DrawnDataModule
from litetext.data.nouns.batches import CONTEXT, NounsBatch, collate
from litetext.data.nouns.phrases import KINDS, Phrase, draw_phrases
from litetext.data.nouns.scenes import FIRST_HELD_OUT, Scene, draw_scene
from litetext.data.nouns.strangers import estrange
from litetext.data.options import check_minimum, check_share
from litetext.tokenizer import Tokenizer

# Weights of the kinds when the joint stage begins; they reach their usual shares at its middle.
_BEGINNING = {"noun": 0.34, "synonym": 0.16, "category": 0.12, "attribute": 0.2, "position": 0.06, "relation": 0.12}


class Stages(NamedTuple):
    """Optimizer steps of the three stages, in their order.

    Attributes:
        vision: Steps in which the vision tower alone learns to name objects.
        text: Steps in which the text tower alone learns to read phrases.
        joint: Steps in which everything learns to detect.
    """

    vision: int
    text: int
    joint: int

    @property
    def towers(self) -> int:
        """Steps before the joint stage."""
        return self.vision + self.text


class NounsDataset(Dataset):
    """Training batches by step, whole; a function of the step and the options alone.

    Args:
        stages: Steps of each stage.
        images: Images a step; the text stage reads as many phrases without painting.
        phrases: Phrases an image.
        seed: Seed of the scenes.
        strangers: Share of the phrases whose noun becomes a word that means nothing here.
    """

    def __init__(self, stages: Stages, images: int, phrases: int, seed: int, strangers: float) -> None:
        self.stages, self.images, self.phrases, self.strangers = stages, images, phrases, strangers
        self.first = seed * sum(stages) * images
        self.tokenizer = Tokenizer(CONTEXT)

    def __len__(self) -> int:
        return sum(self.stages)

    def __getitem__(self, step: int) -> NounsBatch:
        """The batch of this step."""
        first = self.first + step * self.images
        scenes = [draw_scene(number) for number in range(first, first + self.images)]
        if step < self.stages.vision:
            return collate(scenes, [[] for _ in scenes], self.tokenizer)
        done = (step - self.stages.towers) / max(1, self.stages.joint)
        kinds = mixture(done) if done >= 0 else dict(KINDS)
        drawn = [self._draw(scene, kinds) for scene in scenes]
        return collate(scenes, drawn, self.tokenizer, paint=done >= 0)

    def _draw(self, scene: Scene, kinds: dict[str, float]) -> list[Phrase]:
        rng = random.Random(f"phrases {scene.number}")
        drawn = draw_phrases(scene, self.phrases, rng, kinds)
        while len(drawn) < self.phrases:  # rare; batches of one size need to be compiled for once only
            drawn += draw_phrases(scene, self.phrases - len(drawn), rng)
        return [(rng.random() < self.strangers and estrange(phrase, rng)) or phrase for phrase in drawn]


def mixture(done: float) -> dict[str, float]:
    """Weights of the kinds of phrases in the joint stage: bare words first, what is composed of them later.

    Args:
        done: How much of the stage is done, 0 to 1.
    """
    part = min(1.0, 2 * done)
    return {kind: (1 - part) * _BEGINNING.get(kind, 0.0) + part * share for kind, share in KINDS.items()}


class HeldOutNouns(Dataset):
    """Batches of scenes that no training saw, with the usual phrases of training.

    Args:
        batches: How many.
        images: Images a batch.
        phrases: Phrases an image.
    """

    def __init__(self, batches: int, images: int, phrases: int) -> None:
        self.batches, self.images, self.phrases = batches, images, phrases
        self.tokenizer = Tokenizer(CONTEXT)

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> NounsBatch:
        """One batch."""
        first = FIRST_HELD_OUT + index * self.images
        scenes = [draw_scene(number) for number in range(first, first + self.images)]
        drawn = [draw_phrases(scene, self.phrases, random.Random(f"phrases {scene.number}")) for scene in scenes]
        return collate(scenes, drawn, self.tokenizer)


class NounsDataModule(DrawnDataModule):
    """The world of nouns as training and held-out batches.

    Args:
        vision_steps: Steps of the vision stage.
        text_steps: Steps of the text stage.
        steps: Steps of the joint stage.
        images: Images a step.
        phrases: Phrases an image; half of them negatives.
        strangers: Share of the training phrases whose noun becomes a word that means nothing in this world.
        val_images: Held-out images.
        val_phrases: Phrases a held-out image.
        seed: Seed of the training scenes.
        num_workers: Processes that paint ahead.

    Raises:
        ValueError: If an option is out of its range, or there would be more training scenes than numbers for them.
    """

    def __init__(
        self,
        vision_steps: int = 3000,
        text_steps: int = 2000,
        steps: int = 15000,
        images: int = 96,
        phrases: int = 8,
        strangers: float = 0.04,
        val_images: int = 250,
        val_phrases: int = 8,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__(images, phrases, val_images, val_phrases, seed, num_workers)
        check_minimum(1, data__steps=steps)
        check_minimum(0, data__vision_steps=vision_steps, data__text_steps=text_steps)
        check_share(data__strangers=strangers)
        self.stages, self.strangers = Stages(vision_steps, text_steps, steps), strangers
        self.steps = sum(self.stages)
        self.check_numbers(FIRST_HELD_OUT)

    def train_dataloader(self) -> DataLoader:
        """One epoch is the whole run; continues where a resumed run stopped."""
        data = NounsDataset(self.stages, self.images, self.phrases, self.seed, self.strangers)
        return self.resumable(data, prefetch_factor=6 if self.num_workers else None)

    def val_dataloader(self) -> DataLoader:
        """The held-out scenes, the same for every seed."""
        images = next(n for n in range(min(50, self.val_images), 0, -1) if self.val_images % n == 0)
        data = HeldOutNouns(self.val_images // images, images, self.val_phrases)
        return DataLoader(data, batch_size=None, num_workers=0)
