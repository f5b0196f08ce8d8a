"""Weights that are not finite are refused by name wherever they are loaded."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from litetext.models.detectors import load_detector
from litetext.models.finite import check_weights, is_finite
from litetext.models.sam3.image import Sam3Image
from litetext.models.text.bank import load_bank, make_bank, save_bank
from litetext.models.text.loading import load_text_encoder, load_tower
from litetext.models.text.students import load_student
from litetext.shipped import shipped
from tests.fixtures.detectors_world import save_dino

STUDENT = "checkpoints/student-tiny/student.ckpt"


@given(st.lists(st.floats(width=32), max_size=20), st.sampled_from([torch.float32, torch.bfloat16, torch.float64]))
def test_finite_is_what_isfinite_says(values: list[float], dtype: torch.dtype) -> None:
    tensor = torch.tensor(values, dtype=torch.float32).to(dtype)
    assert is_finite(tensor) == bool(torch.isfinite(tensor).all())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_first_of_the_broken_is_named(value: float) -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    check_weights(module, "mine")
    module[1].running_var[1] = value
    with pytest.raises(
        ValueError, match=r"mine: 1 of its 7 tensors hold NaN or infinite values, such as 1\.running_var"
    ):
        check_weights(module, "mine")


def broken_student(folder: Path) -> Path:
    stored = torch.load(shipped(STUDENT), map_location="cpu", weights_only=True)
    key = next(key for key in stored["state_dict"] if key.endswith("projector.weight"))
    stored["state_dict"][key].view(-1)[0] = math.nan
    torch.save(stored, folder / "broken.ckpt")
    return folder / "broken.ckpt"


def test_students_are_refused_everywhere_but_by_the_audit(tmp_path: Path, refused: Callable[..., str]) -> None:
    path = broken_student(tmp_path)
    told = r"broken\.ckpt: 1 of its \d+ tensors hold NaN"
    for load in (load_student, load_text_encoder):
        with pytest.raises(ValueError, match=told):
            load(str(path))
    load_tower(path)
    line = refused("export", str(path), "--to", "transformers", "--output", str(tmp_path / "out"))
    assert "broken.ckpt: 1 of its" in line, line
    assert not (tmp_path / "out").exists()


def test_a_bank_is_neither_filled_nor_read(tmp_path: Path) -> None:
    encoder = load_text_encoder(STUDENT)
    bank = make_bank(encoder, STUDENT, ["red circle", "cup"])
    bank.features[1][0, 0] = math.inf
    save_bank(type(bank)(bank.origin, bank.phrases, bank.tokens, bank.features), tmp_path / "b.safetensors")
    with pytest.raises(ValueError, match=r"phrase bank .*b\.safetensors: 1 of its 1 tensors hold NaN or infinite"):
        load_bank(tmp_path / "b.safetensors")
    with torch.no_grad():
        encoder.projector.weight[0] = math.nan
    with pytest.raises(ValueError, match=r"mine: 2 of its 2 tensors .* such as the features of 'red circle'"):
        make_bank(encoder, "mine", ["red circle", "cup"])


def test_a_sam3_and_a_detector_are_refused(tmp_path: Path) -> None:
    sam3 = Path(shutil.copytree(shipped("checkpoints/sam3-tiny"), tmp_path / "sam3"))
    save_dino(tmp_path / "dino")
    for folder, load in ((sam3, Sam3Image.from_pretrained), (tmp_path / "dino", load_detector)):
        load(folder)
        weights = load_file(folder / "model.safetensors")
        key = next(key for key in weights if "decoder" in key and key.endswith("weight"))
        weights[key].view(-1)[-1] = math.inf
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ValueError, match=rf"{folder.name}: \d of its \d+ tensors hold NaN or infinite values"):
            load(folder)
