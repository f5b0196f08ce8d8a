"""The teacher's features of a run's prompts: what earlier runs have encoded is found, the rest is encoded."""

import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from litetext.data.features.fill import FeatureError, fill
from litetext.data.features.manifest import StoreKey
from litetext.data.features.store import FeatureStore
from litetext.models.devices import products_on
from litetext.modules.teacher import Teacher, TeacherFacts, quoted
from litetext.tokenizer.token_rows import TokenRows

_PROBE_SECONDS = 5.0


class HasRows(Protocol):
    """What holds the prompts of a run."""

    def feature_rows(self) -> TokenRows:
        """Token rows that need teacher features."""
        ...

    def feature_prompt(self, row: int) -> str:
        """The prompt behind one of them."""
        ...


def store_features(
    teacher: Teacher,
    facts: TeacherFacts,
    data: HasRows,
    root: str,
    tokens_per_batch: int,
    trainer: Trainer,
    more: Sequence[Sequence[int]] = (),
) -> FeatureStore:
    """Encodes the prompts of a run that no earlier run has encoded, and opens the features of all.

    Args:
        teacher: The teacher; read, and moved to the device, only if something is missing.
        facts: What is known of it.
        data: Whose prompts are encoded.
        root: Where the stores of all teachers lie.
        tokens_per_batch: Tokens that the teacher encodes together.
        trainer: The run's trainer; its processes share the work.
        more: Token rows beside those of the prompts; they come behind them.

    Raises:
        ValueError: If a prompt's features are not finite.
        OSError: If the disk is full.
    """
    device = trainer.strategy.root_device
    key = store_key(facts, device)

    def encode(rows: Sequence[Sequence[int]]) -> list[Tensor]:
        return list(teacher.load(facts.fingerprint).to(device).encode_tokens(rows, tokens_per_batch))

    rows = data.feature_rows()
    try:
        folder = key.folder(root)
        store = fill(folder, [*rows, *more] if len(more) else rows, encode, key, share=_share(trainer, folder))
    except FeatureError as error:
        known = error.row < len(rows)
        prompt = quoted(data.feature_prompt(error.row)) if known else f"of the tokens {more[error.row - len(rows)]}"
        raise ValueError(f"the teacher's features of the prompt {prompt}: {error}") from error
    rank_zero_info(describe_store(store))
    return store


def describe_store(store: FeatureStore) -> str:
    """How many features were encoded and how many found, and where they lie, in one line."""
    return (
        f"teacher features of {len(store):,} token rows: {store.encoded:,} encoded, {store.reused:,} reused, in "
        f"{store.path} ({store.bytes / 1e6:,.1f} MB)"
    )


def store_key(facts: TeacherFacts, device: torch.device) -> StoreKey:
    """What decides a teacher's features of a token row on a device.

    Args:
        facts: What is known of the teacher.
        device: Where it computes.
    """
    return StoreKey(facts.fingerprint, facts.width, facts.computed, facts.code, products_on(device))


def _share(trainer: Trainer, folder: Path) -> tuple[int, int]:
    """This process and how many fill one folder: all, or those of its node where nodes do not share a disk."""
    if trainer.num_nodes == 1:
        return trainer.global_rank, trainer.world_size
    probe = folder.with_name(f".{folder.name}.{trainer.strategy.broadcast(secrets.token_hex(4))}.probe")
    if trainer.is_global_zero:
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
    trainer.strategy.barrier()
    end = time.monotonic() + _PROBE_SECONDS
    while not probe.exists() and time.monotonic() < end:
        time.sleep(0.1)
    shared = trainer.strategy.reduce_boolean_decision(probe.exists(), all=True)
    if trainer.is_global_zero:
        with suppress(FileNotFoundError):
            probe.unlink()
    return (trainer.global_rank, trainer.world_size) if shared else (trainer.local_rank, trainer.num_devices)
