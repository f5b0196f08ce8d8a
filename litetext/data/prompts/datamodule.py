"""PromptDataModule: corpora in, tokenized prompts with their permutations and teacher features out."""

import errno
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from litetext.checkpoints.hub_tokenizer import AnyTokenizer
from litetext.data.epochs import EpochDataModule
from litetext.data.options import check_minimum
from litetext.data.permutation import Mode, permute
from litetext.data.prompts.batch import PromptBatch
from litetext.data.prompts.corpora import PromptSource, arrange, check_val_sources, counts_text, read_sources
from litetext.data.prompts.table import (
    PromptTable,
    SomeRows,
    first_by_hash,
    give_back,
    is_permutation,
)
from litetext.data.sampling import EpochSampler, rarity
from litetext.garbage import no_collection
from litetext.tokenizer import TokenBatch, Tokenizer, pad
from litetext.tokenizer.token_rows import TokenRows

_COMPARED = 4096


@runtime_checkable
class BringsTokenizer(Protocol):
    """A module whose prompts are cut by another tokenizer than SAM3's."""

    def prompt_tokenizer(self) -> AnyTokenizer | None:
        """That tokenizer; None for SAM3's."""
        ...


class PromptDataset(Dataset):
    """Builds whole batches at once; all prompts are tokenized beforehand.

    Args:
        data: The datamodule that holds rows, permutations and features.
        indices: The prompts of this side of the split.
        held_out: Whether the teacher's features of the permutations are wanted too.
    """

    def __init__(self, data: "PromptDataModule", indices: Sequence[int] | np.ndarray, held_out: bool) -> None:
        self.data = data
        self.indices = np.asarray(indices, dtype=np.int64)
        self.held_out = held_out

    def __len__(self) -> int:
        return len(self.indices)

    def __getitems__(self, positions: Sequence[int]) -> PromptBatch:
        """The batch of prompts at these positions of the split; position + epoch * length asks for that epoch's."""
        data = self.data
        epoch, place = np.divmod(np.asarray(positions), len(self))  # a training batch says its epoch, see EpochSampler
        index = self.indices[place]
        rows = data.rows.take(index)
        orders = data.fixed_permutations(index) if self.held_out else data.permutations(index, int(epoch[0]))
        changed = [b for b, row in enumerate(orders) if row is not None]
        permuted = [row for row in orders if row is not None]
        length = int(rows.lengths.max())
        numbers = data.permuted_numbers(index[np.asarray(changed, dtype=np.int64)]) if self.held_out else None
        tokens = pad(rows, length)
        moved = pad(permuted, length) if permuted else TokenBatch(*_no_rows(length))
        return PromptBatch(
            index=torch.from_numpy(index),
            tokens=tokens,
            changed=torch.tensor(changed, dtype=torch.int64),
            permuted=moved,
            valid=tokens.mask.flatten().nonzero().squeeze(1),
            permuted_valid=moved.mask.flatten().nonzero().squeeze(1),
            permuted_index=None if numbers is None else torch.from_numpy(numbers),
        )


class PromptDataModule(EpochDataModule):
    """Prompts from any mix of corpora, split by a hash of their text, in batches of about equal length.

    Args:
        sources: Corpora by name, each a path in its own layout: RefCOCO family, gRefCOCO, LVIS, RF100-VL and other
            COCO-style files, SA-Co Gold, Silver and VEval, .txt, .json, .jsonl, .csv (`PATH#FIELD` names a field), also
            gzipped, or `shapes:N` for N phrases of the world of shapes.
        context_length: Tokens a prompt may have, start and end token included; the student's context.
        overflow: What happens to a longer prompt: `truncate` keeps the end token in the last slot and reports how
            many were cut, `error` stops.
        permutation: `attribute-noun` reorders modifiers and head noun within each noun phrase, another order each
            epoch where there are several; `swap` keeps the modifiers in order, so that there is one; `words` shuffles
            all words each epoch as the reference trainer does; `none` leaves the consistency loss without work.
            Held-out prompts have one permutation for all seeds, that of `swap` also where `attribute-noun` trains.
        batch_size: Prompts a training step takes on each device.
        val_batch_size: Prompts a validation step takes on each device.
        val_fraction: Share of the prompts held out, by a hash of the text.
        val_sources: Names of the sources to hold out whole instead: all their prompts validate, and other sources train
            without them. Shows how far a student reaches beyond the corpora that taught it.
        max_prompts: Use only so many prompts, the first by hash; for a short run on a large corpus.
        augment: New phrases to train on besides, as a share of the training prompts: noun phrases put together of these
            prompts' own heads and modifiers, none of them held out.
        inverse_frequency: Draw prompts by the mean over their tokens of the token's count to the power of minus this,
            as many an epoch as before: 1 is inverse frequency, 0 takes each prompt once.
        seed: Seed of batches, permutations and new phrases; by default the run's own, `seed_everything`.
        num_workers: Processes that build batches; 0 is fastest unless the features lie on a slow disk.

    Raises:
        ValueError: If no source is given, or an option is out of its range.
    """

    def __init__(
        self,
        sources: dict[str, str],
        context_length: int = 16,
        overflow: Literal["truncate", "error"] = "truncate",
        permutation: Literal["attribute-noun", "swap", "words", "none"] = "attribute-noun",
        batch_size: int = 64,
        val_batch_size: int = 256,
        val_fraction: float = 0.05,
        max_prompts: int | None = None,
        augment: float = 0.0,
        inverse_frequency: float = 0.0,
        seed: int | None = None,
        num_workers: int = 0,
        val_sources: list[str] | None = None,
    ) -> None:
        super().__init__(seed, num_workers, val_fraction)
        if not sources:
            raise ValueError("data.sources is empty; name at least one corpus, as --data.sources.NAME PATH")
        self.val_sources = list(val_sources or [])
        check_val_sources(sources, self.val_sources)
        check_minimum(1, data__batch_size=batch_size, data__val_batch_size=val_batch_size)
        check_minimum(0, data__augment=augment, data__inverse_frequency=inverse_frequency)
        if context_length < 3:
            raise ValueError(f"data.context_length is {context_length}; start and end token and one more make 3")
        if max_prompts is not None and max_prompts < 10:
            raise ValueError(f"data.max_prompts is {max_prompts}; a run needs at least 10")
        self.sources = sources
        self.permutation: Mode | Literal["none"] = permutation
        self.batch_size, self.val_batch_size = batch_size, val_batch_size
        self.max_prompts = max_prompts
        self.augment, self.inverse_frequency = augment, inverse_frequency
        self.read_by(Tokenizer(context_length, overflow))
        self.prompts: Sequence[str] = []
        self.rows = TokenRows.of([])
        self.permuted = SomeRows(np.zeros(0, np.int64), self.rows)
        self.train = self.val = np.zeros(0, np.int64)
        self._held_out_moved = self.val
        self._digest = ""
        self._made: Path | None = None
        self._table: PromptTable | None = None

    def read_by(self, tokenizer: AnyTokenizer) -> None:
        """Takes the tokenizer of the prompts; to be called before they are read.

        Args:
            tokenizer: SAM3's, which is the default, or the teacher's own. The context and what happens to longer
                prompts are its.
        """
        self.tokenizer: AnyTokenizer = tokenizer
        # Of permutations: one that does not fit is none, and no error.
        self._reordered: AnyTokenizer = tokenizer.cut_to(tokenizer.context_length)

    @property
    def context_length(self) -> int:
        """Tokens a prompt may have."""
        return self.tokenizer.context_length

    @property
    def batches_per_epoch(self) -> int:
        """Training batches of one epoch on each rank, after `setup`."""
        return max(1, len(self.train) // (self.batch_size * self._rank()[1]))

    @property
    def compared(self) -> list[int]:
        """Numbers of the held-out prompts that are compared with each other: at most 4,096, the first by hash."""
        kept = range(len(self.val))
        if len(self.val) > _COMPARED:
            kept = first_by_hash([self.prompts[int(i)] for i in self.val], _COMPARED)
        return self.val[list(kept)].tolist()

    def prepare_data(self) -> None:
        """Reads, merges, tokenizes, permutes and splits all prompts into files, once a machine.

        Raises:
            FileNotFoundError: A source is not there.
            ValueError: A source cannot be read, or a prompt is too long under `overflow: error`.
            OSError: The folder for temporary files (TMPDIR) is full.
        """
        if self._made is not None or len(self.rows):
            return
        self._ask_tokenizer()
        with no_collection():
            found = read_sources(self.sources)
            before = self.tokenizer.truncated
            mode: Mode | None = "swap" if self.permutation == "attribute-noun" else _mode(self.permutation)
            texts, split = arrange(found, self.val_sources, self.val_fraction)
            table = PromptTable.build(texts, self.tokenizer, self._reordered, mode, split, self.max_prompts)
            if wanted := round(self.augment * len(table.train)):
                few = len(table.rows)
                table = table.augmented(wanted, self.seed, self.tokenizer, self._reordered, mode, split)
                found.append(PromptSource("augment", "data.augment", "own words", table.prompts[few:], wanted, 0, 0))
        truncated = self.tokenizer.truncated - before
        few = f" ({_COMPARED:,} of them, by hash, are compared for agreement)" if len(table.val) > _COMPARED else ""
        whole = f" ({', '.join(self.val_sources)}; data.val_fraction does not count)" if self.val_sources else ""
        rank_zero_info(
            f"{counts_text(found)}\n"
            f"{len(table.rows):,} different token rows: {len(table.train):,} to train on, {len(table.val):,} held out"
            f"{whole}{few}; {len(table.permuted):,} have a permutation ({self.permutation}); "
            f"{truncated:,} cut at {self.context_length} tokens"
        )
        made = Path(tempfile.mkdtemp(prefix="litetext-prompts-"))
        try:
            table.save(made)
        except BaseException as error:
            shutil.rmtree(made, ignore_errors=True)
            if isinstance(error, OSError) and error.errno in (None, errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                full = (
                    "the disk is full while writing the run's prompts; free some space, or set TMPDIR to another folder"
                )
                raise OSError(error.errno or errno.ENOSPC, full, str(made.parent)) from error
            raise
        self._made = made

    def setup(self, stage: str) -> None:
        """Maps what `prepare_data` made, and checks the split. Once."""
        if len(self.rows):
            return
        self._ask_tokenizer()
        several = self.trainer is not None and self.trainer.world_size > 1
        if not several:
            if self._table is None:
                self.prepare_data()
        elif self.trainer is not None:
            self.seed = self.trainer.strategy.broadcast(self.seed)
        if self._table is None:
            self._table = PromptTable.load(self._made_here())
            if several and self.trainer is not None:
                self.trainer.strategy.barrier()
            if self._made is not None:  # what is mapped needs no name, and so is gone however the run ends
                shutil.rmtree(self._made, ignore_errors=True)
                give_back()
        table = self._table
        for side, name in ((table.train, "training"), (table.val, "validation")):
            if not len(side):
                raise ValueError(
                    f"no {name} prompts: {len(table.rows)} prompts with {self._split}; "
                    "add prompts or change what is held out"
                )
        if len(table.val) < self._rank()[1]:
            raise ValueError(
                f"{len(table.val)} held-out prompts cannot feed {self._rank()[1]} processes; hold out more than by "
                f"{self._split}, or add prompts"
            )
        self.prompts, self.rows, self.permuted, self.train, self.val = table
        self._held_out_moved = self.val[self.permuted.place(self.val) >= 0]

    @property
    def _split(self) -> str:
        if self.val_sources:
            return f"data.val_sources={self.val_sources}"
        return f"data.val_fraction={self.val_fraction}"

    def _ask_tokenizer(self) -> None:
        # Lightning sets the data up before the module, and the module knows whose tokens its student reads.
        module = self.trainer.lightning_module if self.trainer is not None else None
        own = module.prompt_tokenizer() if isinstance(module, BringsTokenizer) else None
        if own is not None:
            self.read_by(own.cut_to(self.context_length, self.tokenizer.overflow))

    def attach(self, folder: Path) -> None:
        """Maps what another process has prepared; `setup` does so by itself.

        Args:
            folder: Its files.
        """
        self._table = PromptTable.load(folder)

    def _made_here(self) -> Path:
        """The folder that the first process of this machine made."""
        found: list[Any] = [(0, self._made)]
        node = 0
        if self.trainer is not None and self.trainer.world_size > 1:
            node = self.trainer.node_rank
            found = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(found, (node, self._made))
        return next(made for of, made in found if of == node and made is not None)

    @property
    def digest(self) -> str:
        """Hash over all token rows in order, which tells whether a resumed run has its prompts."""
        self._digest = self._digest or self.rows.digest()
        return self._digest

    def fixed_permutations(self, index: Sequence[int] | np.ndarray) -> list[list[int] | None]:
        """Token rows of the permutations that prompts have for all seeds, B rows; None where there is none."""
        return [None if k < 0 else self.permuted.rows[k] for k in self.permuted.place(index).tolist()]

    def permuted_numbers(self, index: Sequence[int] | np.ndarray) -> np.ndarray:
        """Numbers in `feature_rows` of the permutations of held-out prompts that have one, int64."""
        return len(self.rows) + np.searchsorted(self._held_out_moved, np.asarray(index, dtype=np.int64))

    def permutations(self, index: Sequence[int] | np.ndarray, epoch: int) -> list[list[int] | None]:
        """Token rows of the permutations that prompts are trained with in an epoch.

        Args:
            index: Numbers of the prompts, (B,).
            epoch: The epoch. A prompt's permutation is a function of the prompt, the epoch and `seed` alone.

        Returns:
            B rows; None where there is no other order.
        """
        rows = self.fixed_permutations(index)
        mode = self.permutation
        if mode == "none" or mode == "swap":
            return rows
        few = 1 if mode == "words" else 2  # so many words have one order, or one other order
        drawn = [b for b, i in enumerate(index) if len(self.prompts[i].split()) > few]
        texts = [permute(self.prompts[index[b]], self.seed * 1_000_003 + epoch, mode) for b in drawn]
        for b, row in zip(drawn, self._reordered.encode(texts), strict=True):
            rows[b] = row if is_permutation(row, self.rows[index[b]]) else None
        return rows

    def feature_rows(self) -> TokenRows:
        """Token rows that need teacher features: all prompts, then the permutations of the held-out ones."""
        return self.rows.joined(self.permuted.rows.take(self.permuted.place(self._held_out_moved)))

    def feature_prompt(self, row: int) -> str:
        """The prompt behind a row of `feature_rows`, for messages."""
        return self.prompts[row if row < len(self.rows) else self._held_out_moved[row - len(self.rows)]]

    def train_dataloader(self) -> DataLoader:
        """Batches by length; continues where a resumed run stopped."""
        dataset = PromptDataset(self, self.train, held_out=False)
        lengths = self.rows.lengths[self.train].astype(np.int32)
        weights = rarity(self.rows.take(self.train), self.inverse_frequency) if self.inverse_frequency else None
        sampler = EpochSampler(lengths, self.batch_size, self.seed, *self._rank(), weights)
        return self.resumable(dataset, sampler)

    def val_dataloader(self) -> DataLoader:
        """All held-out prompts, sorted by length; each rank takes its stride."""
        order = np.argsort(self.rows.lengths[self.val], kind="stable").tolist()
        rank, world = self._rank()
        return self.in_order(PromptDataset(self, self.val, held_out=True), order[rank::world], self.val_batch_size)

    def predict_dataloader(self) -> DataLoader:
        """One empty batch: `litetext predict` only fills the feature store, in the module's setup."""
        return DataLoader([None], collate_fn=_nothing)  # pyright: ignore[reportArgumentType]

    def state_dict(self) -> dict[str, Any]:
        """What of this epoch is done, and of which prompts."""
        return {**super().state_dict(), "prompts": self.digest, "count": len(self.rows)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up the state of an interrupted run.

        Raises:
            ValueError: The prompts are not those of that run; their order and batches would be others.
        """
        if self._fitting and state_dict.get("prompts", "") not in ("", self.digest):
            if self.augment and (seed := state_dict.get("seed", self.seed)) != self.seed:
                raise ValueError(
                    f"the new phrases of data.augment are drawn with seed {self.seed} here, and with {seed} in the run "
                    f"of the checkpoint; give --data.seed {seed}, or begin a new run without --ckpt_path"
                )
            raise ValueError(
                f"the checkpoint was trained on other prompts ({state_dict['count']:,} there, {len(self.rows):,} from "
                f"data.sources {', '.join(self.sources.values())} here); a resumed run keeps its data: give those, or "
                "begin a new run without --ckpt_path"
            )
        super().load_state_dict(state_dict)


def _mode(permutation: Mode | Literal["none"]) -> Mode | None:
    return None if permutation == "none" else permutation


def _nothing(items: list[None]) -> None:
    return None


def _no_rows(length: int) -> tuple[Tensor, Tensor]:
    return torch.zeros(0, length, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
