"""Targets that hold a graph: ONNX and ExportedProgram."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from torch import Tensor

from litetext.export.graph import Run, features_of
from litetext.export.graphs import export_onnx, open_onnx
from litetext.export.order import Order, Outcome, our_features
from litetext.export.parity import LEAST, parity_of, require_parity
from litetext.export.torch_target import export_torch, open_torch

_GRAPH = """
Inputs `ids` {shape} and `lengths` ({prompts},), int64; outputs `features` and `mask` of the valid tokens.

```python
{load}
from litetext.tokenizer import Tokenizer

ids, lengths = Tokenizer({context})(["white dog"]{count}{full})
features, mask = {call}
```
"""


def write_onnx(order: Order, folder: Path) -> Outcome:
    """`model.onnx`."""
    run = open_onnx(export_onnx(order.subject.student, folder, order.dtype, order.batch))
    load = 'import onnxruntime\n\nsession = onnxruntime.InferenceSession("FOLDER/model.onnx")'
    call = 'session.run(None, {"ids": ids.numpy(), "lengths": lengths.numpy()})'
    return _compared(order, run, f"ONNX Runtime, {order.dtype}", LEAST[order.dtype], _opens(order, load, call))


def write_torch(order: Order, folder: Path) -> Outcome:
    """`model.pt2`."""
    run = open_torch(export_torch(order.subject.student, folder, order.batch))
    load = 'import torch\n\nprogram = torch.export.load("FOLDER/model.pt2").module()'
    opens = _opens(order, load, "program(ids, lengths)")
    return _compared(order, run, "torch.export.load, float32", -1.0, opens)


def _compared(order: Order, run: Run, what: str, least: float, opens: str) -> Outcome:
    hear = partial(_features, run, order)
    found = parity_of(our_features(order.subject.student, order.prompts), hear(order.prompts))
    require_parity(what, found, order.tolerance, least=least)
    return Outcome({what: found}, opens, hear=hear)


def _features(run: Run, order: Order, prompts: Sequence[str]) -> list[Tensor]:
    return features_of(run, order.subject.student, prompts, order.batch)


def _opens(order: Order, load: str, call: str) -> str:
    student, prompts = order.subject.student, str(order.batch or "B")
    full = student.padding == "reference"
    return _GRAPH.format(
        shape=f"({prompts}, {student.context_length if full else f'2 to {student.context_length}'})",
        prompts=prompts,
        load=load.replace("FOLDER", "{folder}"),
        context=student.context_length,
        count=f" * {order.batch}" if order.batch and order.batch > 1 else "",
        full=f", {student.context_length}" if full else "",
        call=call,
    )
