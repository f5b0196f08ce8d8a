"""PromptBankModule: `litetext predict` encodes phrases once, into a file that stands in for the text encoder."""

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.utilities import rank_zero_info

from litetext.data.prompts.datamodule import PromptDataModule
from litetext.data.prompts.phrase_list import PhraseListDataModule
from litetext.models.text.bank import PhraseBank, check_place, make_bank, save_bank
from litetext.models.text.loading import load_text_encoder


class PromptBankModule(LightningModule):
    """Encodes a list of phrases with a text encoder and writes the features, see `litetext.models.text.bank`.

    Args:
        text_encoder: A `.ckpt` of `litetext fit`, a SAM3 for its own text encoder, or published SAM3-LiteText weights.
        output: The file to write, NAME.safetensors; an older bank is replaced.
        context_length: For published students, to use the first rows of a longer position table.

    Raises:
        FileNotFoundError: If the folder of `output` is not there.
        ValueError: If `output` cannot be the name of a bank.
    """

    def __init__(self, text_encoder: str, output: str, context_length: int | None = None) -> None:
        super().__init__()
        check_place(Path(output))
        self.text_encoder, self.output, self.context_length = text_encoder, output, context_length
        self.encoder: Any = None
        self.bank: PhraseBank | None = None

    def setup(self, stage: str) -> None:
        """Loads the text encoder.

        Raises:
            ValueError: The run has another kind of data, or another command than predict.
        """
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, PhraseListDataModule | PromptDataModule):
            raise ValueError(
                f"PromptBankModule reads a PhraseListDataModule; data.class_path names {type(data).__name__}"
            )
        if stage != "predict":
            raise ValueError("a prompt bank is written by litetext predict, and by no other command")
        self.encoder = load_text_encoder(self.text_encoder, self.context_length)

    def predict_step(self, batch: Any, batch_idx: int) -> None:
        """Encodes all phrases at once, on the first process, and writes them."""
        if not self.trainer.is_global_zero:
            return
        prompts = self.trainer.datamodule.prompts  # type: ignore[attr-defined]
        rank_zero_info(f"{len(prompts):,} phrases through {self.text_encoder}")
        self.bank = make_bank(self.encoder, self.text_encoder, prompts)
        save_bank(self.bank, self.output)

    def on_predict_end(self) -> None:
        """Says what was written."""
        if self.bank is not None:
            size, origin = Path(self.output).stat().st_size, self.bank.origin
            print(
                f"phrase bank {self.output}: {len(self.bank):,} phrases of different tokens, {size / 1e6:,.2f} MB, "
                f"by {origin.encoder} ({origin.parameters:,} parameters, fingerprint {origin.fingerprint[:12]})"
            )
