"""Draws the pictures of README and docs: litetext's own scenes, and what teacher and student find in them.

Run as `python .docs/pictures.py checkpoints/quickstart/best.ckpt`.
"""

import random
import sys
import tempfile
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from litetext.commands.comparison import Comparison
from litetext.data.nouns.phrases import draw_phrases
from litetext.data.nouns.render import render
from litetext.data.nouns.scenes import FIRST_HELD_OUT, draw_scene

IMAGES = Path(__file__).parent / "pages" / "images"
SCENES, PHRASES = (3, 14, 27), 3


def side_by_side(student: str, output: Path) -> None:
    """Held-out scenes, a phrase a colour: without masks, with the teacher's text encoder, with the student's."""
    page = Comparison("checkpoints/sam3-nouns", student)
    figure, axes = plt.subplots(len(SCENES), 3, figsize=(9.2, 3.15 * len(SCENES)), dpi=110)
    for row, number in zip(axes, SCENES, strict=True):
        scene = draw_scene(FIRST_HELD_OUT + number)
        pixels, _ = render(scene)
        drawn = [p for p in draw_phrases(scene, 24, random.Random(number)) if p.targets]
        phrases = list(dict.fromkeys(p.text for p in sorted(drawn, key=lambda p: -len(p.text)) if len(p.text) < 44))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "scene.png"
            Image.fromarray(np.asarray(pixels)).save(path)
            answer = page.answer(path, phrases[:PHRASES])
        size = answer.teacher.picture.shape[1::-1]
        plain = Image.fromarray(np.asarray(pixels)).resize(size, Image.Resampling.BICUBIC)
        sides = [("image", plain, "\n".join(answer.phrases))]
        for name, one in (("teacher", answer.teacher), ("student", answer.student)):
            spent = f"{1000 * one.seconds / len(answer.phrases):.1f} ms a phrase"
            sides.append((name, one.picture, f"{one.parameters / 1e6:.2f}M parameters, {spent}"))
        for axis, (name, picture, told) in zip(row, sides, strict=True):
            axis.imshow(picture)
            axis.set_title(name, fontsize=11)
            axis.set_xlabel(told, fontsize=8)
            axis.set_xticks([])
            axis.set_yticks([])
    figure.tight_layout()
    figure.savefig(output)
    plt.close(figure)
    # A palette is enough for flat drawings, and a third of the bytes.
    Image.open(output).convert("RGB").quantize(256).save(output, optimize=True)


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    side_by_side(sys.argv[1], IMAGES / "side_by_side.png")
