"""PhraseListDataModule: phrases as they are listed, for what encodes them once."""

from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_info
from torch.utils.data import DataLoader

from litetext.data.prompts.corpora import counts_text, read_sources


class PhraseListDataModule(LightningDataModule):
    """All phrases of some lists or corpora, each once; nothing is split, permuted or left out.

    Args:
        sources: Lists by name, each a path as `PromptDataModule` takes it: .txt with one phrase a line, .json,
            .jsonl, .csv (`PATH#FIELD` names a field), a known corpus, or `shapes:N`.

    Raises:
        ValueError: If no source is given.
    """

    def __init__(self, sources: dict[str, str]) -> None:
        super().__init__()
        if not sources:
            raise ValueError("data.sources is empty; name at least one list, as --data.sources.NAME phrases.txt")
        self.sources = sources
        self.prompts: list[str] = []

    def setup(self, stage: str) -> None:
        """Reads the lists. Once."""
        if self.prompts:
            return
        found = read_sources(self.sources)
        self.prompts = list(dict.fromkeys(prompt for source in found for prompt in source.prompts))
        rank_zero_info(counts_text(found))

    def predict_dataloader(self) -> DataLoader:
        """One batch, the numbers of all phrases: text encoders sort and batch by themselves."""
        return DataLoader(range(len(self.prompts)), batch_size=len(self.prompts))  # pyright: ignore[reportArgumentType]
