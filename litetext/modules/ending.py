"""SIGTERM ends all processes of an evaluation at once: what they have stored so far is whole and is taken up again."""

import os
import signal
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from litetext.modules.ranks import Ranks


class EndsAtOnce(Callback):
    """Lets SIGTERM end a test, validation or prediction of several processes.

    Lightning's own handler waits there for a broadcast in which the others, stopped in the middle of their work, never
    take part.
    """

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes over SIGTERM until the trainer gives the signals back."""
        self._take_over(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes over SIGTERM until the trainer gives the signals back."""
        self._take_over(trainer, pl_module)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes over SIGTERM until the trainer gives the signals back."""
        self._take_over(trainer, pl_module)

    def _take_over(self, trainer: Trainer, module: LightningModule) -> None:
        def end(number: int, frame: Any) -> None:
            ranks = getattr(module, "ranks", None)
            if isinstance(ranks, Ranks):
                ranks.fail("SIGTERM")
            launcher = trainer.strategy.launcher
            if launcher is not None:
                launcher.kill(number)  # type: ignore[arg-type]
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)

        if trainer.world_size > 1:
            signal.signal(signal.SIGTERM, end)
