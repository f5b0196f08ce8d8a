"""Text encoders by path: teacher, student, published weights."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from litetext.models.text.loading import load_text_encoder
from litetext.models.text.mobileclip import MobileClipText
from litetext.models.text.students import load_student
from litetext.models.text.teacher import Sam3TextEncoder
from litetext.shipped import shipped
from tests.fixtures.bert import save_bert

GOLDEN = Path(__file__).parent.parent.parent / "fixtures" / "golden"
HEADS = {"S0": 2, "L": 3}


@pytest.mark.parametrize(("file", "array"), [("eff_S0", "S0"), ("hf_S0", "S0"), ("hf_L", "L")])
def test_published_students_give_the_reference_features(file: str, array: str) -> None:
    arrays = load_golden()
    encoder = load_text_encoder(GOLDEN / f"{file}.safetensors", context_length=16, heads=HEADS[array])
    assert isinstance(encoder, MobileClipText)
    assert (encoder.padding, encoder.context_length, encoder.training) == ("reference", 16, False)
    lengths = (~arrays["S0__eff_interp16_mask_true_is_pad"]).sum(1)
    features = encoder(arrays["ids16"].long(), lengths)
    torch.testing.assert_close(features, arrays[f"{array}__eff_slice16_tokens"], rtol=0, atol=5e-6)


def load_golden() -> dict[str, torch.Tensor]:
    import numpy as np

    return {name: torch.from_numpy(array) for name, array in np.load(GOLDEN / "arrays.npz").items()}


def test_heads_of_a_transformers_folder(tmp_path: Path) -> None:
    shutil.copy(GOLDEN / "hf_L.safetensors", tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"model_type": "sam3_lite_text", "text_config": {"num_attention_heads": 3}}')
    encoder = load_text_encoder(tmp_path)
    assert isinstance(encoder, MobileClipText)
    assert encoder.config["heads"] == 3
    assert encoder.context_length == 20


def test_the_teachers_own() -> None:
    encoder = load_text_encoder("checkpoints/sam3-tiny")
    assert isinstance(encoder, Sam3TextEncoder)
    assert encoder.fingerprint == Sam3TextEncoder.from_pretrained(shipped("checkpoints/sam3-tiny")).fingerprint


def test_a_student_of_ours(tmp_path: Path) -> None:
    student = MobileClipText("nano", layers=1, vocab_size=50)
    path = tmp_path / "best.ckpt"
    state = {f"student.{k}": v for k, v in student.state_dict().items()}
    torch.save({"state_dict": state, "litetext": {"student": student.config}}, path)
    again = load_text_encoder(path)
    assert not again.training
    for name, value in load_student(str(path)).state_dict().items():
        assert torch.equal(again.state_dict()[name], value)


def test_weights_of_another_student_are_named(tmp_path: Path) -> None:
    student = MobileClipText("nano", layers=1, vocab_size=50)
    state = {f"student.{k}": v for k, v in student.state_dict().items()}
    path = tmp_path / "best.ckpt"
    torch.save({"state_dict": state, "litetext": {"student": {**student.config, "layers": 2}}}, path)
    with pytest.raises(ValueError, match=r"another text encoder.*missing \(blocks\.1\.") as caught:
        load_text_encoder(path)
    assert "\n" not in str(caught.value)
    state["student.projector.bias"] = torch.zeros(3)
    torch.save({"state_dict": state, "litetext": {"student": student.config}}, path)
    with pytest.raises(ValueError, match=r"1 misshapen \(projector\.bias \(3,\) instead of \(64,\)\)"):
        load_text_encoder(path)
    torch.save({"state_dict": state, "litetext": {"student": {"size": 3}}}, path)
    with pytest.raises(ValueError, match="describes a student that this version cannot build"):
        load_text_encoder(path)


def test_what_is_no_text_encoder_for_a_sam3(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="text encoder 'no/such/path': no such file"):
        load_text_encoder("no/such/path")
    with pytest.raises(FileNotFoundError, match=r"text encoder .*none\.ckpt"):
        load_text_encoder(tmp_path / "none.ckpt")
    apple = {f"text_{k}": v for k, v in load_file(GOLDEN / "eff_S1.safetensors").items() if k.startswith("encoder.")}
    save_file(apple, tmp_path / "mobileclip.safetensors")
    with pytest.raises(ValueError, match="without a projection to SAM3's features"):
        load_text_encoder(tmp_path / "mobileclip.safetensors")


def test_features_that_no_sam3_reads_are_taken_only_where_no_sam3_shall(tmp_path: Path) -> None:
    folder = save_bert(tmp_path)
    with pytest.raises(ValueError, match="is a model of type 'bert', whose features a SAM3 cannot read"):
        load_text_encoder(folder)
    encoder = load_text_encoder(folder, for_sam3=False)
    assert (encoder.kind, encoder.name) == ("bert", str(folder))
    assert encoder.encode(["red dog"])["red dog"].shape[1] == encoder.width
