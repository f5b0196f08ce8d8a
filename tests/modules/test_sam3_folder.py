"""The tiny SAM3 that a training goes on from."""

import math
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from litetext.modules.sam3_folder import open_start
from litetext.shipped import shipped


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(shipped("checkpoints/sam3-tiny"), tmp_path / "sam3"))
    state = load_file(folder / "model.safetensors")
    next(iter(state.values())).view(-1)[0] = math.nan
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"model\.start .*sam3: 1 of its [\d,]+ tensors hold NaN"):
        open_start(str(folder))
    assert open_start("checkpoints/sam3-tiny").training
