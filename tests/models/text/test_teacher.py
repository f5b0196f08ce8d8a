"""The teacher: sizes, parity with Meta's encoder and transformers, loading, encoding without padding."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import Sam3Config, Sam3Model, Sam3VideoConfig

from litetext.checkpoints.text import convert
from litetext.models.text.teacher import Sam3TextEncoder

GOLDEN = Path(__file__).parent.parent.parent / "fixtures" / "golden"
SMALL = {
    "vocab_size": 120,
    "embed_width": 32,
    "heads": 4,
    "layers": 3,
    "hidden": 64,
    "eot_width": 16,
    "width": 24,
}


@pytest.fixture(scope="module")
def arrays() -> dict[str, Tensor]:
    with np.load(GOLDEN / "arrays.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file}


@pytest.fixture(scope="module")
def sam3(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sam3Model, Path]:
    """A tiny Sam3Model with random weights, and the folder it was saved to."""
    detr = {"hidden_size": 32, "num_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    vit = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Sam3Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam3_vit_model",
                "image_size": 28,
                **vit,
                "global_attn_indexes": [0],
            },
            "fpn_hidden_size": 32,
        },
        text_config={
            "model_type": "clip_text_model",
            "vocab_size": 120,
            "hidden_size": 32,
            "intermediate_size": 48,
            "projection_dim": 20,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 12,
        },  # hidden_act is left at CLIP's quick_gelu, and transformers does not write it to the folder
        geometry_encoder_config={**detr, "roi_size": 1},
        detr_encoder_config=detr,
        detr_decoder_config={**detr, "num_queries": 2},
        mask_decoder_config={"hidden_size": 32, "num_upsampling_stages": 2, "num_attention_heads": 2},
    )
    torch.manual_seed(0)
    model = Sam3Model(config).eval()
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if name.startswith("text_"):  # biases and norms start at 0 and 1, where mistakes hide
                tensor.add_(0.1 * torch.randn_like(tensor))
    folder = tmp_path_factory.mktemp("sam3")
    model.save_pretrained(folder)
    return model, folder


def test_published_parameter_count() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in Sam3TextEncoder().parameters()) == 353_724_672
        assert sum(p.numel() for p in Sam3TextEncoder(context_length=77).parameters()) == 353_770_752


@pytest.mark.parametrize("file", ["meta_teacher", "hf_teacher"])
@pytest.mark.parametrize("length", [16, 32])
def test_equals_meta(arrays: dict[str, Tensor], file: str, length: int) -> None:
    teacher = Sam3TextEncoder.from_pretrained(GOLDEN / f"{file}.safetensors", heads=2)
    ids = arrays[f"ids{length}"].long()
    lengths = (ids != 0).sum(1)
    expected = arrays[f"T__meta{length}_tokens"]
    features = teacher(ids, lengths)
    encoded = teacher.encode_tokens([row[:n].tolist() for row, n in zip(ids, lengths, strict=True)])
    for index, n in enumerate(lengths.tolist()):
        torch.testing.assert_close(features[index, :n], expected[index, :n], rtol=0, atol=5e-6)
        torch.testing.assert_close(encoded[index], expected[index, :n], rtol=0, atol=5e-6)


def equals_transformers(teacher: Sam3TextEncoder, model: Sam3Model) -> None:
    ids = torch.randint(1, 120, (3, 12))
    lengths = torch.tensor([12, 5, 2])
    mask = (torch.arange(12) < lengths[:, None]).long()
    with torch.no_grad():
        expected = model.get_text_features(input_ids=ids, attention_mask=mask).pooler_output
    features = teacher(ids, lengths)
    for index, n in enumerate(lengths.tolist()):
        torch.testing.assert_close(features[index, :n], expected[index, :n], rtol=0, atol=1e-5)


def test_equals_transformers_from_its_folder(sam3: tuple[Sam3Model, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def touched(*args: object, **kwargs: object) -> None:
        raise AssertionError("the hub was asked although the path exists")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", touched)
    model, folder = sam3
    teacher = Sam3TextEncoder.from_pretrained(str(folder))
    assert teacher.config["activation"] == "quick_gelu"
    equals_transformers(teacher, model)


def test_sharded_folder(sam3: tuple[Sam3Model, Path], tmp_path: Path) -> None:
    sam3[0].save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    equals_transformers(Sam3TextEncoder.from_pretrained(tmp_path), sam3[0])


def test_video_folder(sam3: tuple[Sam3Model, Path], tmp_path: Path) -> None:
    weights = {f"detector_model.{key}": value for key, value in load_file(sam3[1] / "model.safetensors").items()}
    save_file(weights | {"tracker_neck.x": torch.ones(1)}, tmp_path / "model.safetensors")
    Sam3VideoConfig(detector_config=sam3[0].config.to_dict()).save_pretrained(tmp_path)
    equals_transformers(Sam3TextEncoder.from_pretrained(tmp_path), sam3[0])


def test_meta_file_gives_the_same_features_and_the_folder_a_fingerprint(tmp_path: Path) -> None:
    teacher = Sam3TextEncoder.from_pretrained(GOLDEN / "hf_teacher.safetensors", heads=2)
    weights = convert(load_file(GOLDEN / "hf_teacher.safetensors"), "sam3", "meta")
    prefix = "detector.backbone.language_backbone."
    torch.save({"model": {prefix + key: value for key, value in weights.items()}}, tmp_path / "sam3.pt")
    again = Sam3TextEncoder.from_pretrained(tmp_path / "sam3.pt", heads=2)
    assert again.fingerprint == teacher.fingerprint
    assert Sam3TextEncoder.from_pretrained(tmp_path / "sam3.pt", heads=4).fingerprint != teacher.fingerprint
    other = {key: value.clone() for key, value in again.state_dict().items()}
    other["projector.bias"][0] += 1e-3
    again.load_state_dict(other)
    assert again.fingerprint != teacher.fingerprint


def test_frozen_in_eval_mode_and_usable_as_a_target() -> None:
    teacher = Sam3TextEncoder.random(0, **SMALL)
    assert not teacher.train().training
    assert not any(module.training for module in teacher.modules())
    assert not any(p.requires_grad for p in teacher.parameters())
    prediction = torch.zeros(3, 24, requires_grad=True)
    torch.nn.functional.mse_loss(prediction, teacher.encode_tokens([[118, 4, 119]])[0]).backward()
    assert prediction.grad is not None


def test_random_depends_on_the_seed_alone() -> None:
    state = torch.get_rng_state()
    first = Sam3TextEncoder.random(3, **SMALL).fingerprint
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(5)
    assert Sam3TextEncoder.random(3, **SMALL).fingerprint == first
    assert Sam3TextEncoder.random(4, **SMALL).fingerprint != first


TEACHER = Sam3TextEncoder.random(0, **SMALL)


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=32), max_size=12),
    tokens=st.integers(1, 64),
)
def test_sharing_beginnings_and_leaving_out_padding_changes_nothing(rows: list[list[int]], tokens: int) -> None:
    encoded = TEACHER.encode_tokens(rows, tokens_per_batch=tokens)
    assert len(encoded) == len(rows)
    for row, features in zip(rows, encoded, strict=True):
        padded = torch.tensor([row + [7] * (32 - len(row))])
        torch.testing.assert_close(features, TEACHER(padded, torch.tensor([32]))[0, : len(row)], rtol=0, atol=1e-5)


def test_prompts_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match="prompt 1 has 33 tokens; 1 to 32"):
        TEACHER.encode_tokens([[1], [1] * 33])
    with pytest.raises(ValueError, match="prompt 0 has 0 tokens"):
        TEACHER.encode_tokens([[]])
    with pytest.raises(ValueError, match="33 tokens long, but this encoder has 32 positions"):
        TEACHER(torch.ones(1, 33, dtype=torch.int64), torch.tensor([33]))


def test_names_that_lead_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def offline(name: str, **kwargs: object) -> str:
        raise LocalEntryNotFoundError("cannot find the requested files\nin the cache")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(FileNotFoundError, match=r"'facebook/sam3'.*https://.*local folder or sam3\.pt") as caught:
        Sam3TextEncoder.from_pretrained("facebook/sam3")
    assert "\n" not in str(caught.value)
    for name in ("/nowhere/sam3", "sam3.pt", "weights/sam3.pt", "./sam3"):
        with pytest.raises(FileNotFoundError, match="no such file or folder"):
            Sam3TextEncoder.from_pretrained(name)


def test_weights_of_something_else(tmp_path: Path, sam3: tuple[Sam3Model, Path]) -> None:
    with pytest.raises(ValueError, match=r"eff_S0.*another text encoder|eff_S0.*no text encoder of SAM3") as caught:
        Sam3TextEncoder.from_pretrained(GOLDEN / "eff_S0.safetensors")
    assert "\n" not in str(caught.value)
    weights = load_file(sam3[1] / "model.safetensors")
    del weights["text_encoder.text_model.encoder.layers.1.mlp.fc2.weight"]
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text((sam3[1] / "config.json").read_text())
    with pytest.raises(ValueError, match=r"1 missing \(blocks\.1\.mlp\.fc2\.weight\)"):
        Sam3TextEncoder.from_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ValueError, match=r"config\.json") as caught:
        Sam3TextEncoder.from_pretrained(tmp_path)
    assert "\n" not in str(caught.value)
