"""A SAM3 with random weights in each public layout; run as `python -m litetext.bench.rehearsal.layouts`."""

import shutil
import sys
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from litetext.bench.rehearsal import meta_files
from litetext.shipped import shipped

Layout = Literal["meta", "transformers", "sam31"]
"""Meta's `sam3.pt`, a sharded folder of transformers, and Meta's `sam3.1_multiplex.pt`."""
Size = Literal["full", "small"]

_FILES: dict[Layout, str] = {"meta": "sam3.pt", "transformers": ".", "sam31": "sam3.1_multiplex.pt"}
_SHARD = {"full": "1GB", "small": "2MB"}
_SMALL = "checkpoints/sam3-tiny"


def place(layout: Layout, folder: Path) -> Path:
    """What `--sam3` names: the file or the folder.

    Args:
        layout: The layout.
        folder: Where `write` wrote it.
    """
    return folder / _FILES[layout]


def config(size: Size) -> Any:
    """The configuration of `facebook/sam3`, whose sizes are transformers' defaults, or of the shipped tiny SAM3.

    Args:
        size: Which.
    """
    from transformers import Sam3Config  # slow to import, and needed here alone

    return Sam3Config() if size == "full" else Sam3Config.from_pretrained(shipped(_SMALL))


def write(layout: Layout, size: Size, folder: Path, seed: int = 0) -> None:
    """Writes a SAM3 with random weights in float32.

    Args:
        layout: The layout.
        size: Its sizes.
        folder: A new folder.
        seed: Of the weights.

    Raises:
        FileExistsError: The folder is there.
        OSError: The disk is full.
    """
    from transformers import Sam3ImageProcessor, Sam3Model

    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    about = config(size)
    model: Any = Sam3Model(about)
    side = about.vision_config.backbone_config.image_size
    if layout == "transformers":
        model.save_pretrained(folder, max_shard_size=_SHARD[size])
        Sam3ImageProcessor(size={"height": side, "width": side}).save_pretrained(folder)
        return
    names = meta_files.sam3 if layout == "meta" else meta_files.sam31
    torch.save(meta_files.as_file(names(model.state_dict())), place(layout, folder))
    if size == "small":  # a file of Meta's does not say its sizes; one of full size needs no config
        shutil.copy(Path(shipped(_SMALL)) / "config.json", folder)


if __name__ == "__main__":
    named, size, folder = sys.argv[1:]
    layouts: dict[str, Layout] = {one: one for one in get_args(Layout)}
    sizes: dict[str, Size] = {one: one for one in get_args(Size)}
    if named not in layouts or size not in sizes:
        raise SystemExit(f"{named} {size}: unknown layout or size")
    write(layouts[named], sizes[size], Path(folder))
