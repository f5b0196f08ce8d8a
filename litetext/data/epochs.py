"""Batches of epochs in an order of their own, that go on where an interrupted run stopped."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from litetext.data.options import check_minimum
from litetext.data.sampling import EpochSampler, ResumableLoader


class EpochDataModule(LightningDataModule):
    """Makes the loaders of data that a training goes through epoch by epoch, whole batches at once.

    Args:
        seed: Seed of the order; None takes the run's own.
        num_workers: Processes that build batches.
        val_fraction: Share of what there is that is held out.

    Raises:
        ValueError: If one of them is out of its range.
    """

    def __init__(self, seed: int | None, num_workers: int, val_fraction: float) -> None:
        super().__init__()
        if not 0 < val_fraction < 1:
            raise ValueError(f"data.val_fraction is {val_fraction}; choose a share between 0 and 1, such as 0.05")
        check_minimum(0, data__seed=seed, data__num_workers=num_workers)
        self.val_fraction = val_fraction
        self._own_seed = seed is not None
        self.seed, self.num_workers = torch.initial_seed() if seed is None else seed, num_workers
        self._resume = 0
        self._loader: ResumableLoader | None = None

    def resumable(self, data: Dataset, sampler: EpochSampler) -> DataLoader:
        """Batches to train on, from the one on at which an interrupted run stopped.

        Args:
            data: Builds a batch of places.
            sampler: Draws the places.
        """
        if self.trainer is not None and self.trainer.overfit_batches:  # type: ignore[attr-defined]
            sampler.fix_epoch()
        self._loader = ResumableLoader(data, batch_sampler=sampler, **self._loading())
        self._loader.skip, self._resume = self._resume % len(sampler), 0
        return self._loader

    def in_order(self, data: Dataset, places: Sequence[int], size: int) -> DataLoader:
        """Held-out batches in a fixed order.

        Args:
            data: Builds a batch of places.
            places: This process's.
            size: Places of a batch.
        """
        batches = [list(places[i : i + size]) for i in range(0, len(places), size)]
        return DataLoader(data, batch_sampler=batches, **self._loading())

    def state_dict(self) -> dict[str, Any]:
        """Batches of this epoch that are done, so that a resumed run goes on with the next; and the seed."""
        done = self._loader.done if self._loader is not None else 0
        # `limit_train_batches` may end an epoch before the loader does.
        ended = self.trainer is not None and done >= self.trainer.num_training_batches
        return {"done": 0 if ended else done, "seed": self.seed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up the state of an interrupted run."""
        if not self._own_seed:  # a seed that this process drew for itself would give the rest of another epoch
            self.seed = int(state_dict.get("seed", self.seed))
        self._resume = int(state_dict["done"])

    @property
    def _fitting(self) -> bool:
        return self.trainer is not None and self.trainer.state.fn == "fit"

    def _rank(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)

    def _loading(self) -> dict[str, Any]:
        device = "cpu" if self.trainer is None else self.trainer.strategy.root_device.type
        return {
            "collate_fn": _as_is,
            "num_workers": self.num_workers,
            "persistent_workers": self.num_workers > 0,
            "pin_memory": device not in ("cpu", "mps"),
        }


def _as_is(batch: Any) -> Any:
    return batch
