"""Where a student's time goes: every operator has a kind, and the shares are of one whole."""

import pytest
import torch

from litetext.bench.operators import _KINDS, OTHERS, PRODUCTS, _kind, bench_operators


def test_shares_add_up_and_products_have_a_bound(unchecked: None, capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    try:
        figures = bench_operators("nouns:50", student="nano", batch_size=4, rounds=1)
    finally:
        torch.set_num_threads(threads)
    for precision in ("float32", "bfloat16", "int8"):
        assert sum(figures[f"{precision}: {kind}"] for kind in (*_KINDS, OTHERS)) == pytest.approx(1)
        assert figures[f"{precision}: {PRODUCTS}"] > 0
        assert figures[f"{precision}: attention"] > 0
        assert figures[f"{precision}: speed of the products over a large one"] > 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    shown = [line.split("|")[1].strip() for line in lines]
    assert shown[2:5] == ["float32", "bfloat16", "int8"]


@pytest.mark.parametrize(
    ("operator", "kind"),
    [
        ("aten::addmm", PRODUCTS),
        ("quantized::linear_dynamic", PRODUCTS),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", "attention"),
        ("aten::mkldnn_convolution", "convolutions"),
        ("aten::native_layer_norm", "norms"),
        ("aten::gelu", "GELU"),
        ("aten::copy_", OTHERS),
    ],
)
def test_kinds(operator: str, kind: str) -> None:
    assert _kind(operator) == kind


def test_refusals() -> None:
    with pytest.raises(ValueError, match="rounds=0"):
        bench_operators(rounds=0)
    with pytest.raises(ValueError, match="must be a MobileCLIP student"):
        bench_operators(student="checkpoints/sam3-nouns")
