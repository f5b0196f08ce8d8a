"""The data of a run, of the kind that a module reads."""

from typing import TypeVar

from lightning.pytorch import LightningDataModule, LightningModule

Data = TypeVar("Data", bound=LightningDataModule)


def run_data(module: LightningModule, *kinds: type[Data]) -> Data:
    """The datamodule of a module's run.

    Args:
        module: The module, attached to a trainer.
        kinds: Classes of datamodules that it reads, the usual one first.

    Raises:
        ValueError: If the run has another kind of data.
    """
    data = module.trainer.datamodule  # type: ignore[attr-defined]
    if not isinstance(data, kinds):
        raise ValueError(
            f"{type(module).__name__} reads a {kinds[0].__name__}; data.class_path names {type(data).__name__}"
        )
    return data
