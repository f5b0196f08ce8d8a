"""Checkpoints of students to export."""

from pathlib import Path
from typing import Any

import torch

from litetext.models.text.mobileclip import MobileClipText

SAM3 = "checkpoints/sam3-tiny"
STUDENT = "checkpoints/student-tiny/student.ckpt"


def checkpoint(path: Path, **options: Any) -> str:
    """A student with weights that let every part show."""
    torch.manual_seed(0)
    sizes = {"embed_width": 8, "heads": 2, "layers": 1, "repmixer": False, "embedding_rank": 0, "width": 64}
    student = MobileClipText("nano", **{**sizes, "context_length": 16, **options})
    for name, value in student.named_parameters():
        if name.endswith("scale"):
            value.data.fill_(0.5)
        elif "embedding" in name or "conv" in name:
            value.data.mul_(20)
    about = {"student": student.config, "teacher": SAM3, "teacher_parameters": 3, "sources": {"a": "shapes:9"}}
    state = {f"student.{k}": v for k, v in student.state_dict().items()}
    torch.save({"state_dict": state, "litetext": {**about, "scores": {"cosine": 0.5}}}, path)
    return str(path)


def snippet(folder: Path) -> str:
    """The code in the card of an export, as it stands there."""
    return (folder / "README.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
