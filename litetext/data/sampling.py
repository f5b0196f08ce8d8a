"""Orders of training batches that a resumed run meets again."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Sampler

from litetext.tokenizer.token_rows import TokenRows

# Prompts are sorted by length within this many batches: enough for little padding, few enough to stay random.
_POOL = 32


def rarity(rows: TokenRows, power: float) -> np.ndarray:
    """How often prompts are to be drawn by inverse token frequency: the mean over their tokens of count ** -power.

    Tokens that every prompt holds, such as start and end, do not count.

    Args:
        rows: The token rows of the prompts.
        power: 0 makes all equal, 1 is the inverse frequency.

    Returns:
        Weights of mean 1, float64 (prompts,).
    """
    owner = np.repeat(np.arange(len(rows)), rows.lengths)
    counts = np.bincount(rows.ids)
    rarest = float(counts[counts > 0].min(initial=len(rows)))
    # Of a row's repeats one tells of the prompts that hold a token.
    prompts = np.bincount(np.unique(owner * np.int64(len(counts)) + rows.ids) % len(counts), minlength=len(counts))
    own = prompts[rows.ids] < len(rows)
    each = (counts[rows.ids] / rarest) ** -power * own
    total = np.bincount(owner, each, len(rows)) / np.maximum(1, np.bincount(owner, own, len(rows)))
    total[np.bincount(owner, own, len(rows)) == 0] = (len(rows) / rarest) ** -power
    return total / total.mean()


class BucketSampler:
    """Yields batches of indices; the order is a function of (seed, epoch) alone.

    Every rank builds the same global batches of `batch_size * world_size` prompts and takes its own stride of each,
    so that the prompts of a step do not depend on the number of processes. What does not fill a global batch is
    left out of the epoch (another remainder every epoch), unless it is all there is.

    With weights an epoch has as many prompts, each as often as its weight says, rounded up or down by chance.

    Args:
        lengths: Tokens of each prompt, (N,).
        batch_size: Prompts a batch on this rank.
        seed: Seed of the order.
        rank: This process.
        world_size: Number of processes.
        weights: How often each prompt is drawn, as in `rarity`, (N,); None for once.

    Raises:
        ValueError: If there are fewer prompts than processes, or `batch_size` is below 1.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        weights: np.ndarray | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"data.batch_size is {batch_size}; it must be at least 1")
        if len(lengths) < world_size:
            raise ValueError(f"{len(lengths)} training prompts cannot feed {world_size} processes; add prompts")
        self.lengths = np.asarray(lengths)
        self.size = batch_size * world_size
        self.seed, self.rank, self.world_size, self.weights = seed, rank, world_size, weights
        self.epoch = 0
        self.start = 0
        self._fixed = False
        self.sampler = self  # Lightning calls set_epoch on batch_sampler.sampler only

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch whose order the next iteration follows."""
        if not self._fixed:
            self.epoch = epoch

    def fix_epoch(self) -> None:
        """Gives every epoch the order of this one, as `--trainer.overfit_batches` asks for."""
        self._fixed = True

    def __len__(self) -> int:
        """Batches a full epoch has, whatever `start` is."""
        return max(1, len(self.lengths) // self.size)

    def __iter__(self) -> Iterator[list[int]]:
        """Yields the epoch's batches from `start` on, once; then `start` is 0 again."""
        start, self.start = self.start, 0
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(self._drawn(rng))[: len(self) * self.size]
        pools = [order[i : i + _POOL * self.size] for i in range(0, len(order), _POOL * self.size)]
        order = np.concatenate([pool[np.argsort(self.lengths[pool], kind="stable")] for pool in pools])
        batches = [order[i : i + self.size] for i in range(0, len(order), self.size)]
        for i in rng.permutation(len(batches))[start:]:
            yield batches[i][self.rank :: self.world_size].tolist()

    def _drawn(self, rng: np.random.Generator) -> np.ndarray | int:
        """The prompts of an epoch, (N,), or N for each once."""
        count = len(self.lengths)
        if self.weights is None:
            return count
        ends = np.cumsum(self.weights)
        return np.searchsorted(ends, (rng.random() + np.arange(count)) * (ends[-1] / count), side="right")


class EpochSampler(BucketSampler):
    """A BucketSampler whose numbers tell other processes the epoch too: i of N prompts is epoch * N + i."""

    def __iter__(self) -> Iterator[list[int]]:
        """Yields the epoch's batches from `start` on, once; then `start` is 0 again."""
        first = self.epoch * len(self.lengths)
        for batch in super().__iter__():
            yield [first + i for i in batch]


class StepSampler(Sampler[int]):
    """0, 1, 2, ... for data that is a function of the step; starts at `start`, once.

    Args:
        steps: Steps of an epoch.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.start = 0

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[int]:
        """Yields the steps from `start` on; then `start` is 0 again."""
        start, self.start = self.start, 0
        yield from range(start, self.steps)


class ResumableLoader(DataLoader):
    """A DataLoader over a sampler of this file that knows how many batches it has handed out.

    Attributes:
        done: Batches handed out in this epoch, those before a resume included.
        skip: Batches that the next iteration leaves out, because the run before the resume had them.
    """

    done = 0
    skip = 0

    def __iter__(self) -> Iterator[Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Iterates over what is left of the epoch."""
        self.done, self.skip = self.skip, 0
        order = self.sampler if self.batch_sampler is None else self.batch_sampler
        if isinstance(order, (BucketSampler, StepSampler)):
            order.start = self.done
        for batch in super().__iter__():
            self.done += 1
            yield batch
