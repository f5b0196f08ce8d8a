"""8-bit students: bounds of the error, and folders that open again."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from litetext.losses import pool
from litetext.models.text.compact import COMPACT, save_compact
from litetext.models.text.few_bits import FewBits, Int6Embedding, Int6Linear
from litetext.models.text.folder import stored_config
from litetext.models.text.loading import load_text_encoder
from litetext.models.text.mobileclip import MobileClipText
from litetext.models.text.pruned_vocabulary import OTHERS
from litetext.models.text.quantized import (
    Bits,
    Int8Embedding,
    Int8Linear,
    dynamic_int8,
    quantize_rows,
    quantize_weights,
    resident_bytes,
)
from litetext.tokenizer import Tokenizer, pad
from tests.fixtures.students import nano

BATCH = pad([[1, 2, 3], [4, 5, 6, 7, 8], [9]])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), st.floats(1e-6, 1e6))
def test_a_number_moves_by_half_a_step_at_most(seed: int, size: float) -> None:
    weight = size * torch.randn(5, 7, generator=torch.Generator().manual_seed(seed))
    weight[3] = 0
    values, scale = quantize_rows(weight)
    error = (values * scale[:, None] - weight).abs()
    assert (error <= 0.5001 * weight.abs().amax(1, keepdim=True) / 127).all()
    assert (values.abs().amax(1) == torch.tensor([127, 127, 127, 0, 127])).all()


def test_layers_equal_their_widened_numbers() -> None:
    linear, table = nn.Linear(6, 4).requires_grad_(False), nn.Embedding(9, 6).requires_grad_(False)
    small, rows = Int8Linear.of(linear), torch.randn(2, 3, 6)
    weight = small.weight * small.scale[:, None]
    torch.testing.assert_close(small(rows), F.linear(rows, weight, linear.bias))
    torch.testing.assert_close(small.widened()(rows), small(rows))
    assert not torch.equal(weight, linear.weight)
    tiny, ids = Int8Embedding.of(table), torch.tensor([[0, 8], [3, 3]])
    torch.testing.assert_close(tiny(ids), table(ids), rtol=0, atol=float(table.weight.abs().max()) / 254 + 1e-6)


def test_pooled_features_keep_their_direction() -> None:
    student = nano()
    exact, small = student(*BATCH), quantize_weights(student)(*BATCH)
    assert pooled_cosine(exact, small) > 0.999
    assert not torch.equal(exact, small)
    fast = dynamic_int8(quantize_weights(student))(*BATCH)
    assert pooled_cosine(exact, fast) > 0.995
    assert not torch.equal(fast, small)


def test_it_is_a_quarter_in_memory() -> None:
    student = MobileClipText("s0", embed_width=64, heads=1, layers=1, vocab_size=2000).eval()
    ratio = resident_bytes(student) / resident_bytes(quantize_weights(student))
    assert 3.3 < ratio < 4
    assert resident_bytes(student) == 4 * sum(p.numel() for p in student.parameters()) + sum(
        b.numel() * b.element_size() for b in student.buffers()
    )


def test_packed_layers_count() -> None:
    linear = nn.Sequential(nn.Linear(64, 32))
    assert resident_bytes(dynamic_int8(linear)) == 64 * 32 + 12 * 32 + 4 * 32


@pytest.mark.parametrize("repmixer", [False, True])
@pytest.mark.parametrize(("tokens", "linears"), [(8, 8), (8, 32), (32, 32), (4, 4), (8, 4), (6, 6)])
@pytest.mark.parametrize("kept", [None, [0, 1, 2, 3, 150]])
def test_folders_open_again(
    tmp_path: Path, repmixer: bool, tokens: Bits, linears: Bits, kept: list[int] | None
) -> None:
    student = nano(repmixer)
    assert COMPACT not in stored_config(tmp_path)
    written = save_compact(student, tmp_path, kept, tokens, linears)
    assert COMPACT in stored_config(tmp_path)
    loaded = load_text_encoder(tmp_path)
    assert isinstance(loaded, MobileClipText)
    assert loaded.config == student.config
    assert torch.equal(loaded(*BATCH), written(*BATCH))
    assert torch.equal(loaded(*BATCH), quantize_weights(student, tokens, linears)(*BATCH))


@pytest.mark.parametrize(("told", "bits"), [(True, 8), (False, 32)])
def test_folders_of_before_four_bits_open(tmp_path: Path, told: bool, bits: Bits) -> None:
    written = save_compact(nano(), tmp_path, None, bits, bits)
    config = json.loads((tmp_path / "config.json").read_text())
    config["quantized"] |= {"tokens": told, "linears": told}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert torch.equal(load_text_encoder(tmp_path)(*BATCH), written(*BATCH))


@pytest.mark.parametrize("kept", [None, [0, 1, 2, 3, 150]])
def test_folders_of_before_scales_were_bytes_open(tmp_path: Path, kept: list[int] | None) -> None:
    exact, draw = nano().reparameterize(), torch.Generator().manual_seed(0)
    exact.drop_unused()
    table = exact.embedding.token
    written = save_compact(nano(), tmp_path, kept, 6, 6)
    state = load_file(tmp_path / "model.safetensors")
    rows = torch.arange(200) if kept is None else torch.tensor(kept)

    def older(stored: dict[str, Tensor], part: FewBits, prefix: str) -> Tensor:
        """Puts a bfloat16 for each group in the place of bytes, and gives what the numbers mean with those."""
        count, size = stored[f"{prefix}scale"].shape
        groups = size - 2 if stored[f"{prefix}scale"].dtype == torch.uint8 else size
        stored[f"{prefix}scale"] = (torch.rand(count, groups, generator=draw) / 100).to(torch.bfloat16)
        return part.widen(stored[f"{prefix}weight"], stored[f"{prefix}scale"])

    for name, part in written.named_modules():
        if isinstance(part, Int6Embedding):
            table.weight[rows] = older(state, part, f"{name}.")
            inner = part
        elif isinstance(part, Int6Linear):
            exact.get_submodule(name).weight.copy_(older(state, part, f"{name}."))
    save_file(state, tmp_path / "model.safetensors")
    if kept is not None:
        others = load_file(tmp_path / OTHERS)
        table.weight[torch.ones(200, dtype=torch.bool).index_fill_(0, rows, False)] = older(others, inner, "")
        save_file(others, tmp_path / OTHERS)
    with pytest.raises(ValueError, match=r"does not fit its config\.json: blocks\.0.*scale.*; export it again"):
        load_text_encoder(tmp_path)  # it says bytes
    _tell(tmp_path, None)
    found = load_text_encoder(tmp_path)
    torch.testing.assert_close(found(*BATCH), exact(*BATCH), rtol=1e-4, atol=1e-4)
    if kept is None:  # and is written again as it is
        again = save_compact(found, tmp_path / "again", [0, 5], 6, 6)
        assert torch.equal(again(*BATCH), found(*BATCH))
        assert torch.equal(load_text_encoder(tmp_path / "again")(*BATCH), found(*BATCH))


@pytest.mark.parametrize(("bits", "told"), [(8, None), (6, "bytes"), (5, None), (4, None), (32, None)])
def test_a_folder_says_how_its_scales_are_stored(tmp_path: Path, bits: Bits, told: str | None) -> None:
    save_compact(nano(), tmp_path, None, bits, bits)
    assert stored_config(tmp_path)[COMPACT].get("scales") == told


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (None, r"safetensors does not fit its config\.json: blocks\.0\.conv_mlp\.fc2\.scale.*; export it again$"),
        ("words", r"config\.json does not describe a student \(scales as 'words' are not known\); export it again$"),
        (["bytes"], r"config\.json does not describe a student \(scales as \['bytes'\] are not known\)"),
    ],
)
def test_a_damaged_header_is_one_line(tmp_path: Path, told: object, message: str) -> None:
    save_compact(nano(), tmp_path, None, 6, 6)
    _tell(tmp_path, told)
    with pytest.raises(ValueError, match=message):
        load_text_encoder(tmp_path)


def test_rows_stored_in_another_way_than_those_in_memory_are_refused(tmp_path: Path) -> None:
    save_compact(nano(), tmp_path, [0, 1, 2], 6, 6)
    others = load_file(tmp_path / OTHERS)
    save_file(others | {"scale": others["scale"][:, 1:].contiguous()}, tmp_path / OTHERS)
    with pytest.raises(ValueError, match=r"other_tokens\.safetensors stores its token rows unlike .*; export again"):
        load_text_encoder(tmp_path)


def _tell(folder: Path, scales: object) -> None:
    """Writes into a folder's config.json how its scales are stored; None says nothing of them, as folders of before."""
    config = json.loads((folder / "config.json").read_text())
    del config[COMPACT]["scales"]
    if scales is not None:
        config[COMPACT]["scales"] = scales
    (folder / "config.json").write_text(json.dumps(config))


def test_unknown_bits_are_refused(tmp_path: Path) -> None:
    save_compact(nano(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["quantized"]["tokens"] = 3
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="numbers of 3 bits are not known"):
        load_text_encoder(tmp_path)


def test_a_student_of_the_real_vocabulary_reads_phrases(tmp_path: Path) -> None:
    student = MobileClipText("nano", layers=1).eval().requires_grad_(False)
    save_compact(student, tmp_path)
    tokens = Tokenizer(16)(["white dog", "a cup"])
    loaded = load_text_encoder(tmp_path)
    assert pooled_cosine(student(*tokens), loaded(*tokens)) > 0.999


def test_parameters_are_counted(tmp_path: Path) -> None:
    student = nano()
    count = sum(p.numel() for p in quantize_weights(student).parameters())
    own = sum(p.numel() for p in student.reparameterize().parameters()) - student.eot_projection.numel()
    rows = sum(len(p.scale) for p in quantize_weights(student).modules() if isinstance(p, (Int8Linear, Int8Embedding)))
    assert count == own + rows
    kept = save_compact(student, tmp_path, range(20))
    assert sum(p.numel() for p in kept.parameters()) == count - 180 * 7


def test_the_audit_reads_the_whole_table(tmp_path: Path) -> None:
    student = nano()
    save_compact(student, tmp_path, [0, 5])
    table = load_text_encoder(tmp_path).token_vectors()
    exact = student.embedding.lift(student.embedding.token.weight)
    assert table.shape == exact.shape
    assert F.cosine_similarity(table, exact).min() > 0.999


def test_damaged_folders_are_refused(tmp_path: Path) -> None:
    save_compact(nano(), tmp_path, [1, 2, 3])
    config, weights, others = (tmp_path / n for n in ("config.json", "model.safetensors", "other_tokens.safetensors"))
    good = {path: path.read_bytes() for path in (config, weights, others)}

    def refused(path: Path, content: bytes | None, kind: type[Exception], words: str) -> None:
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(kind, match=words):
            load_text_encoder(tmp_path)
        path.write_bytes(good[path])

    refused(weights, None, FileNotFoundError, "not whole")
    refused(weights, good[weights][:900], ValueError, "damaged")
    refused(others, None, FileNotFoundError, "are gone")
    refused(others, good[others][:100], ValueError, "holds no token rows")
    stored = json.loads(good[config])
    stored["quantized"]["kept"] = 4
    refused(config, json.dumps(stored).encode(), ValueError, r"embedding\.token\.kept")
    stored["student"] = {}
    refused(config, json.dumps(stored["quantized"] | {"quantized": 1}).encode(), ValueError, "does not describe")
    stored["student"] = {"preset": "s9"}
    refused(config, json.dumps(stored).encode(), ValueError, "does not describe")
    load_text_encoder(tmp_path)


def pooled_cosine(a: Tensor, b: Tensor) -> float:
    return float(F.cosine_similarity(pool(a), pool(b), dim=-1).min())
