"""TaskDataModule: images and phrases for the task loss, some phrases about each of some images a step."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from litetext.data.epochs import EpochDataModule
from litetext.data.images.unlabelled import UnlabelledImage, read_unlabelled
from litetext.data.options import check_minimum
from litetext.data.prompts.corpora import split_prompts
from litetext.data.sampling import EpochSampler
from litetext.tokenizer import TokenBatch

_NAMED = 3


class TaskBatch(NamedTuple):
    """N phrases about B images; what the module adds is None at first.

    Attributes:
        images: Each image's number in `TaskDataModule.images`, (B,).
        owner: Which of them a phrase is about, (N,).
        index: Each phrase's number in `TaskDataModule.prompts`, (N,).
        number: Each pair's own number, for counting it once, (N,).
        tokens: The phrases as the student reads them, (N, L).
        teacher_features: The teacher's features, (N, M, D).
        teacher_lengths: Its valid tokens, (N,).
    """

    images: Tensor
    owner: Tensor
    index: Tensor  # pyright: ignore[reportIncompatibleMethodOverride]
    number: Tensor
    tokens: TokenBatch | None = None
    teacher_features: Tensor | None = None
    teacher_lengths: Tensor | None = None


class TaskDataset(Dataset):
    """Groups of phrases about one image; whole batches at once.

    Args:
        data: The datamodule.
        images: Numbers of the images of this side of the split.
        shuffled: Group an image's phrases anew each epoch.
    """

    def __init__(self, data: "TaskDataModule", images: Sequence[int], shuffled: bool) -> None:
        self.data, self.shuffled = data, shuffled
        counts = [len(data.queries[n]) for n in images]
        groups = [
            (n, first) for n, count in zip(images, counts, strict=True) for first in range(0, count, data.phrases)
        ]
        self.groups = np.asarray(groups, dtype=np.int64).reshape(-1, 2)

    def __len__(self) -> int:
        return len(self.groups)

    def __getitems__(self, positions: Sequence[int]) -> TaskBatch:
        """The batch of these groups; position + epoch * length asks for that epoch's."""
        data = self.data
        owner, index, number = [], [], []
        chosen = []
        for place, position in enumerate(positions):
            epoch, group = divmod(int(position), len(self))
            image, first = (int(value) for value in self.groups[group])
            order = np.arange(len(data.queries[image]))
            if self.shuffled:
                order = np.random.default_rng([data.seed, epoch, image]).permutation(len(order))
            order = order[first : first + data.phrases]
            chosen.append(image)
            owner += [place] * len(order)
            index += data.queries[image][order].tolist()
            number += (data.firsts[image] + order).tolist()
        images, of, which, pairs = (torch.tensor(v, dtype=torch.int64) for v in (chosen, owner, index, number))
        return TaskBatch(images, of, which, pairs)


class TaskDataModule(EpochDataModule):
    """Images without annotations and their query phrases, in groups of phrases about one image.

    An epoch takes every phrase of every image once, but for groups that fill no batch, others each epoch. Images are
    held out by a hash of their names.

    Attributes:
        images: The images, after `setup`.
        prompts: All phrases, each once.
        queries: Numbers of the phrases of each image.
        train: Numbers of the images to train on, `val` of those held out.

    Args:
        images: `nouns:N` for N scenes of the world of nouns and phrases about them; a folder of images, whose
            `prompts` are the queries; or a JSON of SA-Co Gold or Silver, for its images and phrases alone.
        prompts: Query phrases for the images of a folder: a corpus, as `PromptDataModule.sources` takes it.
        image_folder: Where the images of a JSON lie; by default beside it.
        asked: Phrases that are drawn for each image; those of a JSON are all taken.
        batch_images: Images of a training step on each device.
        phrases: Phrases of each of them in a step.
        val_fraction: Share of the images held out.
        skip_unusable_images: Go on without the images that are missing or no images; by default they end the run.
        seed: Seed of the batches; by default the run's own, `seed_everything`. It does not change the phrases.
        num_workers: Processes that put batches together.

    Raises:
        ValueError: If an option is out of its range.
    """

    def __init__(
        self,
        images: str,
        prompts: str | None = None,
        image_folder: str | None = None,
        asked: int = 32,
        batch_images: int = 8,
        phrases: int = 8,
        val_fraction: float = 0.05,
        skip_unusable_images: bool = False,
        seed: int | None = None,
        num_workers: int = 0,
    ) -> None:
        super().__init__(seed, num_workers, val_fraction)
        check_minimum(1, data__asked=asked, data__batch_images=batch_images, data__phrases=phrases)
        self.root, self.corpus, self.image_folder = images, prompts, image_folder
        self.phrases_per_image, self.batch_images, self.phrases = asked, batch_images, phrases
        self.skip_unusable_images = skip_unusable_images
        self.images: list[UnlabelledImage] = []
        self.prompts: list[str] = []
        self.queries: list[np.ndarray] = []
        self.firsts: list[int] = []
        self.train: list[int] = []
        self.val: list[int] = []

    @property
    def sources(self) -> dict[str, str]:
        """What the checkpoint says of the data."""
        return {"images": self.root, **({} if self.corpus is None else {"prompts": self.corpus})}

    @property
    def read_from(self) -> list[Any]:
        """The options that say which images there are, and which phrases about them."""
        return [self.root, self.corpus, self.image_folder, self.phrases_per_image, self.skip_unusable_images]

    @property
    def batch_size(self) -> int:
        """Phrases of a step on each device, where every image has as many."""
        return self.batch_images * self.phrases

    @property
    def batches_per_epoch(self) -> int:
        """Training batches of one epoch on each rank, after `setup`."""
        groups = sum(-(-len(self.queries[n]) // self.phrases) for n in self.train)
        return max(1, groups // (self.batch_images * self._rank()[1]))

    def setup(self, stage: str) -> None:
        """Finds the images, says what is there and what is left out, and splits them. Once.

        Raises:
            FileNotFoundError: Nothing lies at a path.
            ValueError: An image cannot be used, or too few are left.
        """
        if self.images:
            return
        if self.trainer is not None and self.trainer.world_size > 1:
            self.seed = self.trainer.strategy.broadcast(self.seed)
        found, lost = read_unlabelled(self.root, self.corpus, self.image_folder, self.phrases_per_image)
        if lost and not self.skip_unusable_images:
            some = "; ".join(lost[:_NAMED]) + ("; ..." if len(lost) > _NAMED else "")
            raise ValueError(
                f"{len(lost):,} images of data.images {self.root} cannot be used: {some}; mend or remove them, or go "
                "on without them (--data.skip_unusable_images true)"
            )
        for line in lost[:_NAMED]:
            rank_zero_info(f"left out: {line}")
        train, val = split_prompts([image.name for image in found], self.val_fraction)
        rank = self._rank()[1]
        if len(train) < rank or len(val) < rank:
            raise ValueError(
                f"data.images {self.root}: {len(found):,} images give {len(train)} to train on and {len(val)} held "
                f"out (data.val_fraction={self.val_fraction}) for {rank} processes; add images or change the fraction"
            )
        number: dict[str, int] = {}
        self.queries = [np.array([number.setdefault(p, len(number)) for p in image.phrases]) for image in found]
        self.firsts = np.cumsum([0, *map(len, self.queries)]).tolist()
        self.images, self.prompts, self.train, self.val = found, list(number), train, val
        rank_zero_info(
            f"images {self.root}: {len(train):,} to train on, {len(val):,} held out, {len(lost):,} left out; "
            f"{self.firsts[-1]:,} pairs with {len(number):,} different phrases"
        )

    @property
    def digest(self) -> str:
        """Hash over names and phrases, which tells whether a resumed run has its data."""
        hasher = blake2b(digest_size=16)
        for image in self.images:
            hasher.update("\n".join((image.name, *image.phrases, "")).encode("utf-8", "surrogatepass"))
        return hasher.hexdigest()

    def train_dataloader(self) -> DataLoader:
        """Batches of some images each; continues where a resumed run stopped."""
        dataset = TaskDataset(self, self.train, shuffled=True)
        sampler = EpochSampler(np.zeros(len(dataset), np.int32), self.batch_images, self.seed, *self._rank())
        return self.resumable(dataset, sampler)

    def val_dataloader(self) -> DataLoader:
        """All phrases of the held-out images; each rank takes its stride."""
        rank, world = self._rank()
        dataset = TaskDataset(self, self.val[rank::world], shuffled=False)
        return self.in_order(dataset, range(len(dataset)), self.batch_images)

    def state_dict(self) -> dict[str, Any]:
        """What of this epoch is done, and of which images and phrases."""
        return {**super().state_dict(), "asked": self.digest}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up the state of an interrupted run.

        Raises:
            ValueError: The images or phrases are not those of that run.
        """
        if self._fitting and state_dict.get("asked") != self.digest:
            raise ValueError(
                f"the checkpoint was trained on other images or phrases than data.images {self.root} holds now; a "
                "resumed run keeps its data: give those, or begin a new run without --ckpt_path"
            )
        super().load_state_dict(state_dict)
