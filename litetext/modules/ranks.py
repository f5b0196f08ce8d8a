"""Processes of an evaluation that wait for each other by files: a collective gives up after its timeout, these do not.

One process may have hours more to do than another. Each touches a file every few seconds for as long as it lives, and
says with another that it has come to a place. A waiting process gives up when another has shown no sign of life for
minutes, and at once when one says that it has failed.
"""

import os
import re
import secrets
import textwrap
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

_BEAT = 5.0
_PATIENCE = 600.0
_SIGN = re.compile(r"\.([0-9a-f]{8})\.\w+\.\d+")
"""Name of a sign, and what tells its run's from those of others."""


class ProcessLost(RuntimeError):
    """A process that others wait for has failed, or is silent."""


class Ranks:
    """The processes of a run, in a folder that all of them see. With one process, nothing is written.

    The first one removes what a run that was killed left there.

    Args:
        folder: The folder; made if need be.
        token: What tells this run's files from those of others; the same for all processes.
        rank: This process.
        world_size: Number of processes.
        patience: Seconds without a sign of life after which a process is given up.
    """

    def __init__(
        self, folder: Path, token: str, rank: int = 0, world_size: int = 1, patience: float = _PATIENCE
    ) -> None:
        self.folder, self.token, self.rank, self.world_size, self.patience = folder, token, rank, world_size, patience
        self._ended = threading.Event()
        if world_size > 1:
            folder.mkdir(parents=True, exist_ok=True)
            self._path("alive", rank).touch()
            threading.Thread(target=self._beat, name="ranks", daemon=True).start()
        if rank == 0:
            self._sweep()

    def wait(self, place: str, ranks: Collection[int] | None = None) -> None:
        """Says that this process has come to a place, and waits until others have.

        Args:
            place: Its name, not met before.
            ranks: Whom to wait for; all by default.

        Raises:
            ProcessLost: One of them has failed, or shown no sign of life for too long.
        """
        if self.world_size == 1:
            return
        self._path(place, self.rank).touch()
        seen = {rank: (0, time.monotonic()) for rank in (range(self.world_size) if ranks is None else ranks)}
        while seen := {rank: state for rank, state in seen.items() if not self._path(place, rank).exists()}:
            for rank, (beat, when) in seen.items():
                with suppress(OSError):
                    why = self._path("failed", rank).read_text(encoding="utf-8")
                    raise ProcessLost(
                        f"process {rank} of {self.world_size} failed ({why}); what is stored in {self.folder} stays, "
                        "and the same command goes on from it"
                    )
                new = self._sign(rank)
                if new != beat:
                    seen[rank] = new, time.monotonic()
                elif time.monotonic() - when > self.patience:
                    raise ProcessLost(
                        f"process {rank} of {self.world_size} has shown no sign of life in {self.folder} for "
                        f"{self.patience:,.0f} s; what is stored there stays, and the same command goes on from it "
                        "(the folder must be on a disk that all processes see: --trainer.default_root_dir)"
                    )
            self._ended.wait(0.1)

    def part(self, place: str) -> None:
        """Waits for the first process at a last place; then the signs of life end, and the files go.

        Args:
            place: Its name, not met before.

        Raises:
            ProcessLost: As `wait`.
        """
        if self.world_size == 1:
            return
        self.wait(place, [0])
        if self.rank:
            self._ended.set()
            self._path("parted", self.rank).touch()
            return
        self.wait("parted")
        self._ended.set()
        self._remove("*")

    def fail(self, reason: str) -> None:
        """Says that this process ends with an error, so that nobody waits for it; its other files go.

        Args:
            reason: What the others tell of it.
        """
        if self.world_size == 1 or self._ended.is_set():
            return
        self._ended.set()
        failed = self._path("failed", self.rank)
        draft = self._path("failing", self.rank)
        draft.write_text(reason, encoding="utf-8")
        draft.replace(failed)
        self._remove(f"*.{self.rank}", failed)
        if all(self._path("failed", rank).exists() for rank in range(self.world_size)):
            self._remove("*")

    def _remove(self, which: str, kept: Path | None = None) -> None:
        for path in self.folder.glob(f".{self.token}.{which}"):
            if path != kept:
                path.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Removes signs of runs of which none has been touched for as long as a process may be silent."""
        # The clock of the folder's disk, where there is one of this run's signs to read it from.
        now = self._sign(self.rank) / 1e9 or time.time()
        signs: dict[str, dict[Path, float]] = {}
        for path in self.folder.glob(".*"):
            found = _SIGN.fullmatch(path.name)
            with suppress(OSError):
                if found:
                    signs.setdefault(found[1], {})[path] = path.stat().st_mtime
        for run in signs.values():
            if now - max(run.values()) > _PATIENCE:
                for path in run:
                    path.unlink(missing_ok=True)

    def _path(self, place: str, rank: int) -> Path:
        return self.folder / f".{self.token}.{place}.{rank}"

    def _sign(self, rank: int) -> int:
        try:
            return self._path("alive", rank).stat().st_mtime_ns
        except OSError:
            return 0

    def _beat(self) -> None:
        path = self._path("alive", self.rank)
        while not self._ended.wait(_BEAT):
            try:
                os.utime(path)
            except OSError:  # the disk may be away for a moment
                continue


class FailWithRanks(Callback):
    """Tells the other processes of an evaluation, its `ranks`, that this one ends with an error."""

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Tells them, if the evaluation came so far that they may wait."""
        ranks = getattr(pl_module, "ranks", None)
        if isinstance(ranks, Ranks):
            ranks.fail(textwrap.shorten(f"{type(exception).__name__}: {exception}", 300, placeholder=" ..."))


def meet(trainer: Trainer, folder: Path) -> Ranks:
    """The processes of a trainer; every process must call it, at about the same time.

    Args:
        trainer: The trainer.
        folder: A folder that all of them see.
    """
    token = ""
    if trainer.world_size > 1:
        token = trainer.strategy.broadcast(secrets.token_hex(4))
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        if not any(isinstance(callback, FailWithRanks) for callback in callbacks):
            callbacks.append(FailWithRanks())
    return Ranks(folder, token, trainer.global_rank, trainer.world_size)
