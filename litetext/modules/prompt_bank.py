"""PromptBankModule: `litetext predict` encodes phrases once, into a file that stands in for the text encoder."""

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.utilities import rank_zero_info

from litetext.data.prompts.datamodule import PromptDataModule
from litetext.data.prompts.phrase_list import PhraseListDataModule
from litetext.models.text.bank import PhraseBank, check_place, make_bank, save_bank
from litetext.models.text.loading import load_text_encoder
from litetext.modules.run_data import run_data


class PromptBankModule(LightningModule):
    """Encodes a list of phrases with a text encoder and writes the features, see `litetext.models.text.bank`.

    Args:
        text_encoder: A `.ckpt` of `litetext fit`, a SAM3 for its own text encoder, or published SAM3-LiteText weights.
        output: The file to write, NAME.safetensors; an older bank is replaced with `--overwrite` alone.
        context_length: For published students, to use the first rows of a longer position table.

    Raises:
        FileNotFoundError: If the folder of `output` is not there.
        ValueError: If `output` cannot be the name of a bank.
    """

    overwrite = False
    """Whether an older bank may be replaced; the command's option."""

    def __init__(self, text_encoder: str, output: str, context_length: int | None = None) -> None:
        super().__init__()
        if context_length is not None and context_length < 3:
            raise ValueError(f"model.context_length is {context_length}; start and end token and one more make 3")
        check_place(Path(output))
        self.text_encoder, self.output, self.context_length = text_encoder, output, context_length
        self.encoder: Any = None
        self.bank: PhraseBank | None = None
        self.cut = 0

    def setup(self, stage: str) -> None:
        """Loads the text encoder.

        Raises:
            ValueError: The run has another kind of data, or another command than predict.
        """
        run_data(self, PhraseListDataModule, PromptDataModule)
        if stage != "predict":
            raise ValueError("a prompt bank is written by litetext predict, and by no other command")
        if Path(self.output).exists() and not self.overwrite:
            raise ValueError(f"model.output {self.output} is there already; name another file, or give --overwrite")
        self.encoder = load_text_encoder(self.text_encoder, self.context_length)
        if self.context_length not in (None, self.encoder.context_length):
            raise ValueError(
                f"model.context_length is {self.context_length}, but {self.text_encoder} has "
                f"{self.encoder.context_length} positions; leave it out"
            )

    def predict_step(self, batch: Any, batch_idx: int) -> None:
        """Encodes all phrases at once, on the first process, and writes them."""
        if not self.trainer.is_global_zero:
            return
        prompts = self.trainer.datamodule.prompts  # type: ignore[attr-defined]
        rank_zero_info(f"{len(prompts):,} phrases through {self.text_encoder}")
        tokenizer = self.encoder.tokenizer
        tokenizer.encode(prompts)
        self.cut = tokenizer.truncated
        self.bank = make_bank(self.encoder, self.text_encoder, prompts)
        save_bank(self.bank, self.output)

    def on_predict_end(self) -> None:
        """Says what was written."""
        if self.bank is not None:
            size, origin = Path(self.output).stat().st_size, self.bank.origin
            print(
                f"phrase bank {self.output}: {len(self.bank):,} phrases of different tokens, {size / 1e6:,.2f} MB, "
                f"by {origin.encoder} ({origin.parameters:,} parameters, fingerprint {origin.fingerprint[:12]}); "
                f"{self.cut:,} phrases were cut at {origin.context_length} tokens"
            )
