"""Students as ONNX and ExportedProgram: the same features as the student's, in every type and shape."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import torch
from torch import Tensor

from litetext.data.shapes.world import phrases
from litetext.export.graph import Run, features_of
from litetext.export.graphs import export_onnx, open_onnx
from litetext.export.onnx_folder import write_onnx
from litetext.export.parity import MIN_COSINE, Parity, parity_of
from litetext.export.request import ExportRequest
from litetext.export.source import ExportSource
from litetext.export.torch_target import export_torch, open_torch
from litetext.models.text.mobileclip import MobileClipText
from litetext.tokenizer import pad
from tests.fixtures.runs import Answer

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

pytestmark = pytest.mark.usefixtures("unchecked")  # sizes are symbols while a graph is traced, and no int

PROMPTS = ["dog", *phrases(10, 0)]


def student(padding: Any) -> MobileClipText:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = MobileClipText("nano", padding=padding, layers=1, repmixer=True)
        for name, value in made.state_dict().items():
            if name.endswith((".scale", "running_var")):
                value.uniform_(0.3, 1.5)
            elif name.endswith(("running_mean", ".bias")):
                value.normal_(std=0.3)
    return made.eval().requires_grad_(False)


def parity(made: MobileClipText, run: Run, batch: int | None) -> Parity:
    expected = made.encode(PROMPTS)
    exact = [expected.rows[expected.number[prompt]] for prompt in PROMPTS]
    return parity_of(exact, features_of(run, made, PROMPTS, batch))


@pytest.fixture(scope="module")
def masked_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A masked student in 32 bits; tracing takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        return open_onnx(export_onnx(student("masked"), tmp_path_factory.mktemp("masked")))


def test_fp32_equals_the_student(masked_run: Run) -> None:
    assert parity(student("masked"), masked_run, None).largest < 1e-5


def test_padding_that_counts_as_words_and_a_given_number_of_prompts(tmp_path: Path) -> None:
    made = student("reference")
    assert parity(made, open_onnx(export_onnx(made, tmp_path, batch=4)), 4).largest < 1e-5


@pytest.mark.parametrize(("dtype", "least", "smaller"), [("fp16", 0.9999, 1.6), ("int8", 0.99, 1.0)])
def test_smaller_types_stay_close(tmp_path: Path, dtype: Any, least: float, smaller: float) -> None:
    made = student("masked")
    file = export_onnx(made, tmp_path / dtype, dtype)
    found = parity(made, open_onnx(file), None)
    assert found.cosine > least
    assert found.largest > 1e-6
    assert file.stat().st_size * smaller < 4 * sum(p.numel() for p in made.parameters())
    import onnx

    kinds = [node.op_type for node in onnx.load(file).graph.node]
    assert kinds.count("MatMulInteger") == (10 if dtype == "int8" else 0)
    assert "ConvInteger" not in kinds


def test_exported_program_equals_the_student(tmp_path: Path) -> None:
    made = student("masked")
    assert parity(made, open_torch(export_torch(made, tmp_path)), None).largest < 1e-5


def test_any_length_and_any_number_of_prompts_in_one_file(masked_run: Run) -> None:
    made = student("masked")
    for rows in ([[1, 2]], [[7] * 16, [3] * 9], [[5, 6, 7]] * 5):
        ids, lengths = pad(rows, max(map(len, rows)))
        features, mask = masked_run(ids, lengths)
        torch.testing.assert_close(features, made(ids, lengths), rtol=0, atol=1e-5)
        assert torch.equal(mask.sum(1), lengths)


def test_a_wrong_mask_is_noticed() -> None:
    made = student("masked")

    def run(ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return made(ids, lengths), torch.ones_like(ids, dtype=torch.bool)

    with pytest.raises(ValueError, match="does not mark"):
        features_of(run, made, ["dog", "a very big dog"])


def test_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = student("masked")
    with pytest.raises(ValueError, match="dtype='int4' is unknown"):
        export_onnx(made, tmp_path, "int4")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="batch=0 must be at least 1"):
        export_torch(made, tmp_path, 0)
    monkeypatch.setitem(sys.modules, "onnxruntime.quantization", None)
    with pytest.raises(ValueError, match="pip install onnx onnxscript onnxruntime"):
        export_onnx(made, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_command_writes_a_card_and_refuses_what_differs(
    folder: Path, litetext: Callable[..., Answer], refused: Callable[..., str]
) -> None:
    save = {"litetext": {"student": student("masked").config}}
    state = {f"student.{key}": value for key, value in student("masked").state_dict().items()}
    torch.save({**save, "state_dict": state}, "student.ckpt")
    order = ("export", "student.ckpt", "--prompts", "shapes:9", "--output", "out", "--to")
    line = refused(*order, "torch", "--tolerance", "1e-12")
    assert "the tolerance is 1e-12" in line
    line = refused(*order, "torch", "--dtype", "fp16")
    assert "--dtype is for onnx" in line
    assert not Path("out").exists()
    answer = litetext(*order, "torch", "--batch", "2")
    assert answer.code == 0, answer
    assert "on 9 prompts the largest difference is" in answer.out
    card = Path("out/README.md").read_text()
    assert '["white dog"] * 2' in card
    assert 'torch.export.load("out/model.pt2")' in card


def test_a_type_that_loses_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MIN_COSINE, "int8", 0.9999999)
    request = ExportRequest(ExportSource(student("masked"), "student", {}, ""), PROMPTS, float("inf"), None, "int8", 1)
    with pytest.raises(ValueError, match=r"pooled cosine must be at least 0\.9999999"):
        write_onnx(request, tmp_path)
