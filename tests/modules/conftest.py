"""A distillation made in Python."""

from pathlib import Path

import pytest

from litetext.data.prompts.datamodule import PromptDataModule
from litetext.models.text.mobileclip import MobileClipText
from litetext.modules.distill import DistillModule


@pytest.fixture
def shapes(folder: Path, teacher_file: Path) -> tuple[DistillModule, PromptDataModule]:
    """Module and data of `tiny.yaml`, made in Python."""
    data = PromptDataModule({"shapes": "shapes:120"}, batch_size=16, val_fraction=0.2)
    student = MobileClipText("nano", layers=1)
    return DistillModule(student, str(teacher_file), lr=0.01, scale_lr=False, warmup_epochs=1), data
