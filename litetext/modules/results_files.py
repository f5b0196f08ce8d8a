"""Where an evaluation writes, and files that are there whole or not at all."""

import json
import os
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule


def run_folder(module: LightningModule) -> Path:
    """The folder of the run: the logger's, or the trainer's."""
    return Path(getattr(module.trainer.logger, "log_dir", None) or module.trainer.default_root_dir)


def replace_json(path: Path, content: Any) -> None:
    """Writes JSON beside its place and renames it; lists on one line, objects indented."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(content, indent=None if isinstance(content, list) else 1) + "\n", encoding="utf-8")
    os.replace(draft, path)
