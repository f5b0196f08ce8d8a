"""The steps of a rehearsal: commands as a user types them, in order, and what each costs in operations."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from litetext.bench.rehearsal.back import PHRASES as COMPARED
from litetext.bench.rehearsal.layouts import Layout, Size, place

IMAGES, ASKED, PROMPTS, FIT_STEPS, BATCH, PAIRS = 2, ("red circle", "blue square"), 300, 3, 32, 1
TARGETS = ("text", "compact", "onnx", "torch", "transformers", "trimmed", "efficientsam3")
"""What `litetext export` writes."""
_OPENED = ("text", "compact", "transformers", "efficientsam3")
"""Exports that litetext opens as text encoders; the others are opened by their own programs in the export's gate."""
_WHOLE = ("transformers", "trimmed", "efficientsam3")
"""Exports that take the rest of the SAM3 along."""
_TOKENS = 6
"""Tokens of a prompt on average."""
STUDENT = "checkpoints/rehearsal/last.ckpt"


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        name: What is done.
        words: Arguments of the Python interpreter.
        flops: What its models compute, 2 for a multiply-add; 0 where nothing worth counting.
        needs: Names of steps without which it cannot run.
        gone: Folders that are removed after it.
    """

    name: str
    words: Sequence[str]
    flops: float = 0.0
    needs: tuple[str, ...] = ()
    gone: tuple[str, ...] = field(default=())


def plan(layout: Layout, size: Size) -> list[Step]:
    """The steps for a layout, in order; file names are relative to a working folder that `prepare` made.

    Args:
        layout: Of the SAM3.
        size: Of the SAM3 and the student.
    """
    image, detector, teacher, student = _costs(size)
    sam3, write = str(place(layout, Path(layout))), f"write {layout}"
    texts = len(ASKED) * (teacher + student)
    steps = [Step(write, ("-m", "litetext.bench.rehearsal.layouts", layout, size, layout))]

    def add(name: str, *words: str, flops: float = 0.0, needs: tuple[str, ...] = (write, "fit")) -> None:
        steps.append(Step(name, ("-m", "litetext", *words), flops, needs))

    tower = [] if size == "full" else ["--model.student.init_args.preset", "nano"]
    add(
        *("fit", "fit", "--config", "s0.yaml", "--run", "rehearsal", "--overwrite", "--model.teacher", sam3, *tower),
        *("--model.student.init_args.padding", "reference", "--data.batch_size", str(BATCH)),
        *("--data.sources", json.dumps({"drawn": f"nouns:{PROMPTS}"}), "--data.val_fraction", "0.2"),
        *("--trainer.max_steps", str(FIT_STEPS), "--trainer.accumulate_grad_batches", "1"),
        *("--trainer.limit_val_batches", "1", "--trainer.enable_progress_bar", "false"),
        flops=PROMPTS * teacher + FIT_STEPS * 2 * BATCH * 3 * student,
        needs=(write,),
    )
    add(
        *("predict", "predict", "--config", "prompt_bank.yaml", "--model.text_encoder", sam3, "--overwrite"),
        *("--model.output", "bank.safetensors", "--data.sources", json.dumps({"asked": "phrases.txt"})),
        flops=len(COMPARED) * teacher,
        needs=(write,),
    )
    add(
        *("test", "test", "--config", "shapes.yaml", "--run", "rehearsal", "--fresh", "--model.sam3", sam3),
        *("--model.text_encoders", json.dumps({"student": STUDENT}), "--model.pictures", "0"),
        *("--data.root", "null", "--data.coco.annotations", "two.json", "--trainer.enable_progress_bar", "false"),
        flops=IMAGES * (image + 2 * len(ASKED) * detector) + texts,
    )
    add(
        *("segment", "segment", "0.png", "--phrases", *ASKED, "--sam3", sam3, "--text_encoder", STUDENT),
        *("--output", "segmented", "--overwrite"),
        flops=image + len(ASKED) * (detector + student),
    )
    for target in TARGETS:
        # efficientsam3 builds on Meta's file; beside a folder of transformers its text encoder goes alone.
        whole = target in _WHOLE and (target != "efficientsam3" or layout != "transformers")
        more = ["--sam3", sam3] if whole else []
        more += ["--keep", "phrases.txt"] if target == "trimmed" else []
        wrote = f"exported/{target}"
        flops = 2 * PAIRS * (image + detector) if whole else 0.0
        name = f"export to {target}"
        add(name, "export", STUDENT, "--to", target, "--output", wrote, "--overwrite", "--pairs", str(PAIRS), *more,
            flops=flops)  # fmt: skip
        if target in _OPENED:
            opened = f"{wrote}/{_file(target)}".rstrip("/")
            back = ("-m", "litetext.bench.rehearsal.back", opened, STUDENT)
            steps.append(Step(f"open {target}", back, 2 * len(COMPARED) * student, (name,)))
    add(
        *("segment with the transformers export", "segment", "0.png", "--phrases", *ASKED),
        *("--sam3", "exported/transformers", "--output", "segmented_export", "--overwrite"),
        flops=image + len(ASKED) * (detector + student),
        needs=("export to transformers",),
    )
    steps[-1] = Step(steps[-1].name, steps[-1].words, steps[-1].flops, steps[-1].needs, (layout, "exported"))
    return steps


def _file(target: str) -> str:
    return "sam3_litetext.pt" if target == "efficientsam3" else ""


def prepare(folder: Path) -> None:
    """Writes the two images and the phrases that the steps are about.

    Args:
        folder: The working folder, which is there.
    """
    from PIL import Image, ImageDraw

    images, marks = [], []
    for number in range(IMAGES):
        picture = Image.new("RGB", (640, 480), (230, 230, 220))
        box = [80 + 60 * number, 90, 220 + 60 * number, 230]
        ImageDraw.Draw(picture).ellipse(box, (200, 30, 30))
        picture.save(folder / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 640, "height": 480})
        left, top, right, bottom = box
        corners = [left, top, right, top, right, bottom, left, bottom]
        place = {"bbox": [left, top, right - left, bottom - top], "area": 19600, "segmentation": [corners]}
        marks.append({"id": number + 1, "image_id": number, "category_id": 1, "iscrowd": 0, **place})
    categories = [{"id": n + 1, "name": phrase} for n, phrase in enumerate(ASKED)]
    content = {"images": images, "annotations": marks, "categories": categories}
    (folder / "two.json").write_text(json.dumps(content), encoding="utf-8")
    (folder / "phrases.txt").write_text("".join(f"{phrase}\n" for phrase in COMPARED), encoding="utf-8")


@cache
def _costs(size: Size) -> tuple[float, float, float, float]:
    """Operations of an image, of a phrase in the detector, and of a phrase of some tokens in teacher and student."""
    import torch

    from litetext.bench.efficiency.cost import SAM3_TOKENS, prompt_flops, sam3_cost
    from litetext.models.text.mobileclip import MobileClipText

    known = sam3_cost(None if size == "full" else "checkpoints/sam3-tiny").flops
    with torch.device("meta"):
        student: Any = MobileClipText("s0" if size == "full" else "nano", padding="reference").eval()
    own = prompt_flops(student.requires_grad_(False), [_TOKENS])[_TOKENS]
    return known["image"], known["detector"], known["text"] * _TOKENS / SAM3_TOKENS, own


def interpreter(step: Step) -> list[str]:
    """The whole command line of a step."""
    return [sys.executable, *step.words]
