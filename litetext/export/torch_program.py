"""The target `torch`: a graph of PyTorch operators."""

import json
from functools import partial
from pathlib import Path

from litetext.checkpoints.hub_tokenizer import write_tokenizer
from litetext.export.graph import features_of
from litetext.export.parity import parity_of, require_parity
from litetext.export.request import ExportRequest, ExportResult, cut_of, our_features
from litetext.export.torch_target import export_torch, open_torch

_OPENS = """
```python
import torch
TOKENIZER
program = torch.export.load("{folder}/model.pt2").module()
ids, lengths = tokenizer(["white dog"]COUNT)
mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
text_features, text_mask = program(ids, mask)
```

Inputs `input_ids` and `attention_mask` SHAPE, int64, padding behind the tokens; outputs `text_features` and
`text_mask`.
"""


def write_torch(request: ExportRequest, folder: Path) -> ExportResult:
    """`model.pt2`."""
    student = request.source.student
    length = student.context_length if student.padding == "reference" else request.length
    run = open_torch(export_torch(student, folder, request.batch, request.length))
    encode = partial(features_of, run, student, batch=request.batch, length=length)
    what = "torch.export.load, float32"
    cut = cut_of(request)
    found = parity_of(our_features(student, request.prompts, cut.most), encode(request.prompts))
    require_parity(what, found, request.tolerance)
    count = f" * {request.batch}" if request.batch and request.batch > 1 else ""
    tokenizer = f"from litetext.tokenizer import Tokenizer\n\ntokenizer = Tokenizer({cut.most})"
    if student.reads is not None:
        carried = {"tokenizer": write_tokenizer(student.reads, folder)}
        (folder / "config.json").write_text(json.dumps(carried, indent=2) + "\n", encoding="utf-8")
        read = 'read_tokenizer(json.load(open("{folder}/config.json"))["tokenizer"], Path("{folder}"))'
        imports = (
            "import json\nfrom pathlib import Path\n\nfrom litetext.checkpoints.hub_tokenizer import read_tokenizer"
        )
        tokenizer = f"{imports}\n\ntokenizer = {read}.cut_to({cut.most})"
    opens = (
        _OPENS.replace("TOKENIZER", tokenizer)
        .replace("COUNT", count + (f", {length}" if length else ""))
        .replace("SHAPE", f"({request.batch or 'B'}, {length or f'2 to {student.context_length}'})")
    )
    notes = (cut.note,) if cut.note else ()
    return ExportResult({what: found}, opens, notes, encode=encode, fits=cut.fits)
