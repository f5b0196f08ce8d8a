"""Token tables of which only the rows that prompts use stay in memory; the others wait in a file.

A token whose row is not in memory is read from the file when a prompt has it, so that every prompt gets the answer
that the whole table gives, bit for bit. Which rows to keep, an audit of the prompts says.
"""

import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from litetext.checkpoints.writing import write_state
from litetext.models.text.stored import StoredEmbedding, fixed
from litetext.tokenizer import END, START

Table = nn.Embedding | StoredEmbedding
"""A token table, however it is stored."""
OTHERS = "other_tokens.safetensors"
"""The file of the rows that are not in memory, in a folder of its student."""


def kept_ids(counts: np.ndarray, most: int, special: Collection[int] = (START, END)) -> list[int]:
    """The token ids worth keeping: start, end and padding, then those that occur, the frequent ones first.

    Args:
        counts: Occurrences of each id in the audited prompts, (V,).
        most: Rows to keep at most, those three included.
        special: Start, end and padding, where they are not those of SAM3's tokenizer.

    Returns:
        Ascending ids.

    Raises:
        ValueError: If `most` leaves no room for a word.
    """
    always = sorted({number for number in (0, *special) if number < len(counts)})
    if most <= len(always):
        raise ValueError(f"most={most} token rows leave no room for a word; keep at least {len(always) + 1}")
    ranked = np.argsort(-counts, kind="stable")
    used = [int(number) for number in ranked[: int((counts > 0).sum())] if int(number) not in always]
    return sorted([*always, *used[: most - len(always)]])


class OtherRows:
    """Rows of a token table in a safetensors file, memory-mapped; what is not asked for is not read.

    Args:
        path: The file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._open: Any = None

    def __getstate__(self) -> dict[str, Any]:  # an open file goes into no copy and no other process
        return {"path": self.path, "_open": None}

    def shape(self) -> tuple[int, int]:
        """Rows and columns.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is no file of token rows.
        """
        rows, width = self._file().get_slice("weight").get_shape()
        return rows, width

    def layout(self) -> dict[str, tuple[int, torch.dtype]]:
        """Columns and type of what is stored for each row, by name, as in what `read` gives.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is no file of token rows.
        """
        parts = {name: self._file().get_slice(name)[0:0] for name in self._file().keys()}  # noqa: SIM118  # no mapping
        return {name: (part.shape[1:].numel(), part.dtype) for name, part in parts.items()}

    def read(self, numbers: Iterable[int]) -> dict[str, Tensor]:
        """Some rows, stacked: `weight`, and `scale` where the table is in 8 bits or fewer."""
        chosen = list(numbers)
        slices = {name: self._file().get_slice(name) for name in self._file().keys()}  # noqa: SIM118  # no mapping
        return {name: torch.cat([part[n : n + 1] for n in chosen]) for name, part in slices.items()}

    def _file(self) -> Any:
        if self._open is not None:
            return self._open
        if not self.path.is_file():
            raise FileNotFoundError(
                f"{self.path}: the token rows that are not in memory are gone; put the file back, "
                "a prompt may need them"
            )
        try:
            self._open = safe_open(self.path, framework="pt")
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{self.path} holds no token rows ({error}); write the student's folder again") from error
        return self._open


class PrunedEmbedding(nn.Module):
    """A token table with some rows in memory and the others in a file; gives what the whole table gives.

    Args:
        table: The rows in memory, in the order of `kept`.
        kept: Their token ids, ascending, int64 (K,).
        others: All other rows, in the order of their ids.
    """

    def __init__(self, table: Table, kept: Int64[Tensor, " k"], others: OtherRows) -> None:
        super().__init__()
        self.table, self.others = table, others
        self.register_buffer("kept", kept)  # not parameters: these say which rows there are
        self.kept: Tensor
        self.read_from_disk = 0
        """Prompt tokens so far whose row was read from the file."""

    def forward(self, ids: Int64[Tensor, "*n"]) -> Float[Tensor, "*n d"]:
        """Ids (...) -> vectors (..., d).

        Raises:
            IndexError: An id is in neither part.
        """
        before = torch.searchsorted(self.kept, ids)  # kept ids smaller than each
        places = before.clamp_max(len(self.kept) - 1)
        absent = self.kept[places] != ids
        if not absent.any():
            return self.table(places)
        rows = self.table(places.masked_fill(absent, 0))
        numbers, which = torch.unique((ids - before)[absent], return_inverse=True)
        if not 0 <= int(ids.min()) <= int(ids.max()) < len(self.kept) + self.others.shape()[0]:
            raise IndexError(f"token ids {int(ids.min())} to {int(ids.max())} are not all in this token table")
        read = self.others.read(numbers.tolist())
        found = read["weight"] if isinstance(self.table, nn.Embedding) else self.table.widen(**read)
        rows[absent] = found.to(rows)[which]
        self.read_from_disk += int(absent.sum())
        return rows


def prune(table: Table, kept: Iterable[int], others: str | os.PathLike[str]) -> PrunedEmbedding:
    """Splits a token table into rows in memory and rows in a file, which is written.

    Args:
        table: The whole table, in 32 bits or fewer; it stays as it is.
        kept: Token ids to keep in memory.
        others: The file to write.

    Raises:
        ValueError: There is nothing to keep, or an id is not in the table.
    """
    size = len(table.weight)
    chosen = torch.tensor(sorted(set(kept)), dtype=torch.int64)
    if not len(chosen) or not 0 <= int(chosen[0]) <= int(chosen[-1]) < size:
        raise ValueError(f"kept must name some of the token ids 0 to {size - 1}, and names {chosen.tolist()[:5]}")
    absent = torch.ones(size, dtype=torch.bool).index_fill_(0, chosen, False)
    parts = {"weight": table.weight.detach()}
    if not isinstance(table, nn.Embedding):
        parts["scale"] = table.scale
    write_state({name: part[absent].contiguous() for name, part in parts.items()}, others)
    width = table.columns if isinstance(table, StoredEmbedding) else table.embedding_dim
    inner = type(table)(len(chosen), width)
    for name, part in parts.items():
        setattr(inner, name, fixed(part[chosen]))
    return PrunedEmbedding(inner, chosen, OtherRows(others))
