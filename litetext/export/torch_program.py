"""The target `torch`: a graph of PyTorch operators."""

from functools import partial
from pathlib import Path

from litetext.export.graph import features_of
from litetext.export.order import Order, Outcome, our_features
from litetext.export.parity import parity_of, require_parity
from litetext.export.torch_target import export_torch, open_torch

_OPENS = """
```python
import torch
from litetext.tokenizer import Tokenizer

program = torch.export.load("{folder}/model.pt2").module()
ids, lengths = Tokenizer(CONTEXT)(["white dog"]COUNT)
mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
text_features, text_mask = program(ids, mask)
```

Inputs `input_ids` and `attention_mask` SHAPE, int64, padding behind the tokens; outputs `text_features` and
`text_mask`.
"""


def write_torch(order: Order, folder: Path) -> Outcome:
    """`model.pt2`."""
    student = order.subject.student
    length = student.context_length if student.padding == "reference" else order.length
    run = open_torch(export_torch(student, folder, order.batch, order.length))
    hear = partial(features_of, run, student, batch=order.batch, length=length)
    what = "torch.export.load, float32"
    found = parity_of(our_features(student, order.prompts), hear(order.prompts))
    require_parity(what, found, order.tolerance)
    count = f" * {order.batch}" if order.batch and order.batch > 1 else ""
    opens = (
        _OPENS.replace("CONTEXT", str(student.context_length))
        .replace("COUNT", count + (f", {length}" if length else ""))
        .replace("SHAPE", f"({order.batch or 'B'}, {length or f'2 to {student.context_length}'})")
    )
    return Outcome({what: found}, opens, hear=hear)
