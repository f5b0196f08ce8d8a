"""The student text towers: sizes, golden numbers, padding, folding, initial weights."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from litetext.checkpoints.text import from_native
from litetext.models.text.mobileclip import STOCK_LENGTH, MobileClipText, RepMixerBlock
from litetext.tokenizer import pad

GOLDEN = Path(__file__).parent.parent.parent / "fixtures" / "golden"
TINY: dict[str, dict[str, Any]] = {
    "S0": {"preset": "s0", "embed_width": 32, "heads": 2, "layers": 2},
    "S1": {"preset": "s1", "embed_width": 32, "heads": 2, "layers": 2},
    "L": {"preset": "l", "embed_width": 36, "heads": 3, "layers": 2},
}


@pytest.fixture(scope="module")
def arrays() -> dict[str, Tensor]:
    with np.load(GOLDEN / "arrays.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file}


def tiny(which: str = "S0", **changes: Any) -> MobileClipText:
    return MobileClipText(**TINY[which] | {"width": 24, "vocab_size": 160} | changes).eval()


def golden(which: str = "S0", **changes: Any) -> MobileClipText:
    return tiny(which, **{"pretrained": str(GOLDEN / f"eff_{which}.safetensors")} | changes)


def valid_lengths(arrays: dict[str, Tensor]) -> Tensor:
    return (~arrays["S0__eff_interp16_mask_true_is_pad"]).sum(1)


@pytest.mark.parametrize(
    ("preset", "context", "count"),
    [
        ("s0", 16, 42_541_312),
        ("s0", 32, 42_549_504),
        ("s0", 77, 42_572_544),
        ("s1", 16, 63_528_192),
        ("s1", 77, 63_559_424),
        ("l", 16, 123_800_320),
        ("l", 32, 123_812_608),
    ],
)
def test_published_parameter_counts(preset: Any, context: int, count: int) -> None:
    with torch.device("meta"):
        model = MobileClipText(preset, context_length=context)
        assert sum(p.numel() for p in model.parameters()) == count
        if (preset, context) == ("s0", 16):
            assert sum(p.numel() for p in model.reparameterize().parameters()) == 42_535_168
            assert sum(b.numel() for b in model.buffers()) == 8_200


def test_nano_is_an_eighth_of_the_tiny_sam3_text_encoder() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in MobileClipText("nano").parameters()) <= 3_300_000 // 8


@pytest.mark.parametrize("which", TINY)
@pytest.mark.parametrize(("positions", "array"), [("slice", "eff_slice16"), ("interpolate", "eff_interp16")])
def test_reference_mode_equals_efficientsam3(arrays: dict[str, Tensor], which: str, positions: str, array: str) -> None:
    model = golden(which, padding="reference", pretrained_positions=positions)
    features = model(arrays["ids16"].long(), valid_lengths(arrays))
    torch.testing.assert_close(features, arrays[f"{which}__{array}_tokens"], rtol=0, atol=5e-6)


def test_reference_mode_fills_short_batches_to_its_context(arrays: dict[str, Tensor]) -> None:
    model, ids, lengths = golden(padding="reference"), arrays["ids16"].long()[:3], valid_lengths(arrays)[:3]
    short = ids[:, : int(lengths.max())].clone()
    short[ids[:, : short.shape[1]] == 0] = 77  # whatever stands at padding
    expected = arrays["S0__eff_slice16_tokens"][:3, : short.shape[1]]
    torch.testing.assert_close(model(short, lengths), expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize("file", ["hf_S0", "hf_L"])
def test_transformers_checkpoints_load(arrays: dict[str, Tensor], file: str) -> None:
    which = file.removeprefix("hf_")
    model = golden(which, padding="reference", pretrained=str(GOLDEN / f"{file}.safetensors"))
    features = model(arrays["ids16"].long(), valid_lengths(arrays))
    torch.testing.assert_close(features, arrays[f"{which}__eff_slice16_tokens"], rtol=0, atol=5e-6)


def test_folded_repmixer_equals_reference_and_leaves_the_original(arrays: dict[str, Tensor]) -> None:
    model = golden(padding="reference").train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    folded = model.reparameterize()
    features = folded(arrays["ids16"].long(), valid_lengths(arrays))
    torch.testing.assert_close(features, arrays["S0__eff_slice16_reparam_tokens"], rtol=0, atol=1e-5)
    assert model.training
    assert not folded.training
    assert model.state_dict().keys() == before.keys()
    masked = golden()
    ids, lengths = arrays["ids16"].long(), valid_lengths(arrays)
    torch.testing.assert_close(masked.reparameterize()(ids, lengths), masked(ids, lengths), rtol=0, atol=1e-5)


def stock(model: MobileClipText) -> Any:
    """Transformers' own class with the weights of a student, its table as long as its processor fills prompts."""
    from transformers import Sam3LiteTextTextConfig
    from transformers.models.sam3_lite_text.modeling_sam3_lite_text import Sam3LiteTextTextModel

    size = model.config
    config = Sam3LiteTextTextConfig(
        vocab_size=size["vocab_size"],
        hidden_size=size["embed_width"],
        intermediate_size=4 * size["embed_width"],
        projection_dim=size["embed_width"],
        num_hidden_layers=len(model.blocks),
        num_attention_heads=size["heads"],
        max_position_embeddings=STOCK_LENGTH,
        use_repmixer_blocks=bool(size["repmixer"]),
        repmixer_kernel_size=size["kernel_size"],
    )
    state = from_native(model.state_dict(), "litetext")
    table = state["text_encoder.embeddings.position_embedding.position_embedding"]
    more = table[:, :, -1:].expand(-1, -1, STOCK_LENGTH - table.shape[2], -1)
    state["text_encoder.embeddings.position_embedding.position_embedding"] = torch.cat([table, more], 2)
    made = Sam3LiteTextTextModel(config).eval()
    made.load_state_dict({k.removeprefix("text_encoder."): v for k, v in state.items() if k.startswith("text_encoder")})
    return made


@pytest.mark.parametrize(("which", "context"), [("S0", 16), ("S0", 32), ("S1", 16)])
def test_transformers_mode_equals_the_stock_class_behind_its_stock_processor(which: str, context: int) -> None:
    model = randomize(tiny(which, padding="transformers", context_length=context))
    ids, lengths = pad([[5, 6, 7], [3] * 16, [1, 2, 3, 4, 5, 6, 7, 9]])
    filled = torch.full((3, STOCK_LENGTH), 159)  # the last id ends prompts, as in CLIP
    for line, length in enumerate(lengths):
        filled[line, :length] = ids[line, :length]
    mask = torch.arange(STOCK_LENGTH) < lengths[:, None]
    with torch.no_grad():
        hidden = stock(model)(input_ids=filled, attention_mask=mask.long()).last_hidden_state
        theirs, ours = model.projector(hidden), model(ids, lengths)
        folded = model.reparameterize()(ids, lengths)
        masked = randomize(tiny(which, padding="masked", context_length=context))
        masked.load_state_dict(model.state_dict())
        other = masked(ids, lengths)
    torch.testing.assert_close(ours[mask[:, :16]], theirs[mask], rtol=0, atol=2e-5)
    torch.testing.assert_close(folded[mask[:, :16]], theirs[mask], rtol=0, atol=2e-5)
    # Convolutions alone see the end tokens behind a prompt.
    assert torch.allclose(other[mask[:, :16]], theirs[mask], atol=2e-5) == (which == "S1")


def test_statistics_of_a_batch_count_no_end_tokens_behind_prompts() -> None:
    """The first norm sees the embedding alone: what it keeps is that of valid tokens, as with `masked`."""
    ids, lengths = pad([[5, 6, 7], [3] * 16, [1, 2, 3, 4, 5, 6, 7, 9]])
    filled, masked = (tiny(padding=padding).train() for padding in ("transformers", "masked"))
    masked.load_state_dict(filled.state_dict())
    before = filled.state_dict()["blocks.0.mixer.norm.running_mean"].clone()
    for model in (filled, masked):
        model(ids, lengths)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        kept, expected = (m.state_dict()[f"blocks.0.mixer.norm.{name}"] for m in (filled, masked))
        torch.testing.assert_close(kept, expected, rtol=1e-5, atol=1e-6)
    assert not torch.equal(filled.state_dict()["blocks.0.mixer.norm.running_mean"], before)


def test_transformers_mode_fills_no_further_than_the_processor() -> None:
    with pytest.raises(ValueError, match="fills prompts to 32 tokens"):
        MobileClipText("nano", 33, padding="transformers")


@pytest.mark.parametrize("padding", ["reference"])
def test_three_training_steps_of_the_reference(arrays: dict[str, Tensor], padding: Any) -> None:
    model = tiny(padding=padding, pretrained=str(GOLDEN / "train_S0_init.safetensors")).train()
    decayed = [p for p in model.parameters() if p.ndim > 1 and p.requires_grad]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3)
    ids, permuted = arrays["ids16"].long(), arrays["train__ids_permuted"].long()
    lengths, teacher = valid_lengths(arrays), arrays["train__teacher_fp16"].float()
    permuted_lengths = (permuted != 0).sum(1)
    valid = (torch.arange(16) < lengths[:, None]).float()
    steps = json.loads((GOLDEN / "golden.json").read_text())["losses"]
    steps = next(value for key, value in steps.items() if key.startswith("train_steps"))
    for number, expected in enumerate(steps):
        a, b = model(ids, lengths), model(permuted, permuted_lengths)
        if number == 0:
            torch.testing.assert_close(a, arrays["train__tokens_trainmode_step0"], rtol=0, atol=5e-6)
            torch.testing.assert_close(b, arrays["train__tokens_perm_trainmode_step0"], rtol=0, atol=5e-6)
        mse = (((a - teacher) ** 2).mean(2) * valid).sum(1).div(lengths).mean()
        cos = ((1 - F.cosine_similarity(a, teacher, dim=2)) * valid).sum(1).div(lengths).mean()
        cons = F.mse_loss(a.mean(1), b.mean(1))
        loss = mse + 2 * cos + 0.1 * cons
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_([*decayed, *plain], 1.0)
        optimizer.step()
        found = {"mse": mse, "cos": cos, "cons": cons, "loss": loss, "grad_norm": norm}
        for name, value in found.items():
            assert value.item() == pytest.approx(expected[name], abs=1e-4), (number, name)
    torch.testing.assert_close(model.projector.weight, arrays["train__proj_weight_after3"], rtol=0, atol=1e-4)
    features = model.eval()(ids, lengths)
    torch.testing.assert_close(features, arrays["train__tokens_eval_after3"], rtol=0, atol=1e-4)


WIDE = golden(context_length=20)
WIDE_77 = MobileClipText("s0", 77, 24, embed_width=32, heads=2, layers=2, vocab_size=160).eval()


def randomize(model: MobileClipText) -> MobileClipText:
    """Weights for which every branch and every statistic shows."""
    torch.manual_seed(1)
    for name, tensor in model.state_dict().items():
        if "scale" in name or name.endswith("running_var"):
            tensor.uniform_(0.15, 0.45)
        elif name.endswith(("running_mean", "bias")):
            tensor.normal_(std=0.1)
        elif "conv.weight" in name:
            tensor.normal_(std=0.2)
    return model


randomize(WIDE_77)


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(1, 159), min_size=2, max_size=8), min_size=1, max_size=5),
    junk=st.integers(0, 159),
)
def test_features_do_not_depend_on_padding_nor_on_the_batch(rows: list[list[int]], junk: int) -> None:
    with torch.no_grad():
        alone = [WIDE_77(torch.tensor([row]), torch.tensor([len(row)]))[0] for row in rows]
        lengths = torch.tensor([len(row) for row in rows])
        for length in (8, 16, 32, 77):
            ids = torch.tensor([row + [junk] * (length - len(row)) for row in rows])
            features = WIDE_77(ids, lengths)
            for index, expected in enumerate(alone):
                torch.testing.assert_close(features[index, : len(expected)], expected, rtol=0, atol=1e-5)
                assert not features[index, len(expected) :].any()


def test_training_statistics_see_valid_tokens_only() -> None:
    torch.manual_seed(0)
    rows = [torch.randint(1, 160, (n,)) for n in (3, 8, 5)]
    lengths = torch.tensor([3, 8, 5])
    outcomes = []
    for length in (8, 20):
        model = golden(context_length=20).train()
        ids = torch.nn.utils.rnn.pad_sequence([*rows, torch.zeros(length, dtype=torch.int64)], batch_first=True)[:3]
        features = model(ids, lengths)
        features.square().sum().backward()
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        outcomes.append((features[:, :8], dict(model.named_buffers()), gradients))
    (a, buffers_a, gradients_a), (b, buffers_b, gradients_b) = outcomes
    torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
    torch.testing.assert_close(buffers_a, buffers_b, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradients_a, gradients_b, rtol=1e-4, atol=1e-4)


def test_modes_agree_in_training_when_nothing_is_padded() -> None:
    ids, lengths = torch.randint(1, 160, (4, 20)), torch.full((4,), 20)
    masked, reference = (golden(context_length=20, padding=p).train() for p in ("masked", "reference"))
    torch.testing.assert_close(masked(ids, lengths), reference(ids, lengths))
    torch.testing.assert_close(dict(masked.named_buffers()), dict(reference.named_buffers()))


def test_every_trainable_parameter_gets_a_gradient() -> None:
    model = MobileClipText("s0", 8, 24, embed_width=16, heads=2, layers=1, vocab_size=50, embedding_rank=3)
    model(torch.randint(1, 50, (3, 6)), torch.tensor([6, 2, 4])).sum().backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []  # so that DDP needs no search for unused parameters
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["eot_projection"]


def test_exported_graph_keeps_all_rows_and_agrees() -> None:
    ids, lengths = torch.randint(1, 160, (3, 12)), torch.tensor([12, 4, 7])
    graph = torch.export.export(WIDE, (ids, lengths)).module()
    torch.testing.assert_close(graph(ids, lengths), WIDE(ids, lengths), rtol=0, atol=1e-5)


def test_config_rebuilds_the_model() -> None:
    model = golden(context_length=12)
    again = MobileClipText(**json.loads(json.dumps(model.config)))
    again.load_state_dict(model.state_dict())
    ids, lengths = torch.randint(1, 160, (2, 9)), torch.tensor([9, 3])
    torch.testing.assert_close(again.eval()(ids, lengths), model(ids, lengths), rtol=0, atol=0)


def test_own_checkpoint_is_read_back(tmp_path: Path) -> None:
    model = golden()
    torch.save({"state_dict": {f"student.{k}": v for k, v in model.state_dict().items()}}, tmp_path / "best.ckpt")
    report = tiny().load_from(tmp_path / "best.ckpt")
    assert (report.layout, report.fresh, report.note) == ("native", (), "")


@pytest.mark.parametrize("layout", ["apple", "open_clip"])
def test_initial_weights_report_what_they_lack(tmp_path: Path, caplog: pytest.LogCaptureFixture, layout: str) -> None:
    donor = tiny("S0" if layout == "apple" else "S1", context_length=77)
    weights = {key: value.contiguous() for key, value in from_native(donor.state_dict(), layout).items()}
    path = tmp_path / "mobileclip.safetensors"
    save_file(weights | {"visual.x": torch.ones(1), "logit_scale": torch.ones(())}, path)
    with caplog.at_level(logging.INFO):
        model = tiny("S0" if layout == "apple" else "S1", pretrained=str(path))
    assert model.load_report is not None
    assert model.load_report.fresh == ("projector.weight", "projector.bias")
    assert model.load_report.note == "first 16 of 77 positions"
    assert "left at initial values: projector.weight, projector.bias" in caplog.text
    torch.testing.assert_close(model.embedding.token.weight, donor.embedding.token.weight)
    torch.testing.assert_close(model.embedding.position, donor.embedding.position[:16])


def test_weights_of_another_student_end_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"eff_S1.*another text encoder.*missing .*blocks\.0\.") as caught:
        golden("S0", pretrained=str(GOLDEN / "eff_S1.safetensors"))
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"30 misshapen \(eot_projection \(36, 36\) instead of \(32, 32\)"):
        golden("S1", pretrained=str(GOLDEN / "eff_L.safetensors"))
    nothing = tmp_path / "none.safetensors"
    save_file({"visual.x": torch.ones(1)}, nothing)
    with pytest.raises(ValueError, match="no text encoder"):
        golden(pretrained=str(nothing))
    half = load_file(GOLDEN / "eff_S0.safetensors")
    del half["projector.bias"]
    save_file(half, tmp_path / "half.safetensors")
    with pytest.raises(ValueError, match=r"1 missing \(projector\.bias\)"):
        golden(pretrained=str(tmp_path / "half.safetensors"))


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("nowhere.pt", FileNotFoundError, "no such file"),
        ("MobileCLIP-S9:none", FileNotFoundError, "MobileCLIP-S1:datacompdr"),
        ("MobileCLIP-B:datacompdr", ValueError, "causal"),
        ("MobileCLIP-S1:datacompdr", FileNotFoundError, "path of a downloaded file"),
    ],
)
def test_pretrained_names_that_lead_nowhere(
    monkeypatch: pytest.MonkeyPatch, name: str, error: type[Exception], message: str
) -> None:
    import open_clip

    def offline(known: dict) -> str:
        raise ConnectionError("the hub is out of reach\nand a second line")

    monkeypatch.setattr(open_clip.pretrained, "download_pretrained", offline)
    with pytest.raises(error, match=message) as caught:
        tiny(pretrained=name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset": "s7"}, "preset='s7'"),
        ({"padding": "none"}, "padding='none'"),
        ({"heads": 5}, "heads=5 does not divide the width 32"),
        ({"kernel_size": 4}, "kernel_size=4 must be odd"),
        ({"context_length": 0}, "context_length=0"),
        ({"embedding_rank": -1}, "embedding_rank=-1"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(**changes)


def test_wrong_batches_are_named() -> None:
    for padding in ("masked", "reference"):
        model = tiny(padding=padding)
        with pytest.raises(ValueError, match="17 tokens long, but this encoder has 16 positions"):
            model(torch.ones(1, 17, dtype=torch.int64), torch.tensor([17]))
    for bad in (0, 9):
        with pytest.raises(ValueError, match=rf"lengths must lie in 1\.\.8.*found {min(bad, 4)} to {max(bad, 4)}"):
            tiny()(torch.ones(2, 8, dtype=torch.int64), torch.tensor([4, bad]))


def test_repmixer_blocks_stand_at_both_ends() -> None:
    with torch.device("meta"):
        blocks = MobileClipText("s0").blocks
    assert [isinstance(block, RepMixerBlock) for block in blocks] == [True, False, False, False, False, True]
