"""A student that is compiled for training is the student; and a training step reads nothing back from its device."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from litetext.data.prompts.datamodule import PromptBatch, PromptDataModule
from litetext.models.text.mobileclip import MobileClipText
from litetext.modules.distill import DistillModule
from litetext.tokenizer import Tokenizer, pad

PROMPTS = ["white dog", "the red circle with stripes", "cat", "a small man in a green shirt"]


def student(repmixer: bool = True, padding: Any = "masked") -> MobileClipText:
    torch.manual_seed(0)
    made = MobileClipText("nano", layers=1, repmixer=repmixer, kernel_size=3, padding=padding, vocab_size=49408)
    for name, value in made.named_parameters():
        if name.endswith("scale"):  # or the convolutions would hardly be heard
            torch.nn.init.constant_(value, 0.5)
    return made


def step(model: MobileClipText, forward: Any, ids: Tensor, lengths: Tensor) -> dict[str, Tensor]:
    """Valid features, gradients and running statistics of one training step, and features in eval mode after it."""
    mask = torch.arange(ids.shape[1]) < lengths[:, None]
    features = forward(ids, lengths)
    features[mask].square().mean().backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    found |= {f"running {name}": value.clone() for name, value in model.named_buffers()}
    model.eval()
    found |= {"features": features[mask], "eval": forward(ids, lengths)[mask]}
    model.train()
    return {name: value.detach().clone() for name, value in found.items()}


def test_compiled_and_eager_training_agree(unchecked: None) -> None:
    ids, lengths = Tokenizer(16)(PROMPTS)
    expected = step(model := student(), model, ids, lengths)
    torch._dynamo.reset()
    # As the module fills batches to one shape: wider, and with empty prompts that count nowhere.
    ids = torch.nn.functional.pad(ids, (0, 16 - ids.shape[1], 0, 2))
    lengths = torch.nn.functional.pad(lengths, (0, 2))
    model = student()
    found = step(model, torch.compile(model.forward, backend="aot_eager", dynamic=False), ids, lengths)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-5)


def test_the_module_trains_a_compiled_student(folder: Path, teacher_file: Path, unchecked: None) -> None:
    found = []
    for mode in (None, "default"):
        data = PromptDataModule({"shapes": "shapes:120"}, batch_size=16, val_fraction=0.2)
        data.setup("fit")
        module = DistillModule(student(), str(teacher_file), compile_student=mode)
        if mode is not None:
            module._compiled = torch.compile(module.student.forward, backend="aot_eager", dynamic=False)
        batch = next(iter(data.train_dataloader()))
        batch = batch._replace(features=torch.ones(*batch.tokens.ids.shape, 64).half())
        module.total(module.losses(batch)).mean().backward()
        found.append({name: p.grad for name, p in module.student.named_parameters() if p.grad is not None})
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-3, atol=1e-6)


class Reads(TorchDispatchMode):
    """Notes operations whose result a program must wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(
            name in str(func) for name in ("_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "equal")
        ):
            self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("repmixer", [False, True])
def test_a_training_step_reads_nothing_back(repmixer: bool, folder: Path, teacher_file: Path, unchecked: None) -> None:
    data = PromptDataModule({"shapes": "shapes:120"}, batch_size=16, val_fraction=0.2)
    data.setup("fit")
    module = DistillModule(student(repmixer), str(teacher_file))
    for batch in list(data.train_dataloader())[:3]:
        batch = batch._replace(features=torch.ones(*batch.tokens.ids.shape, 64).half())
        with Reads() as reads:
            module.total(module.losses(batch)).mean().backward()
        assert not reads.seen
    with Reads() as reads:  # what it would be without the positions from the dataset
        module.losses(batch._replace(valid=None))
    assert reads.seen


def test_known_positions_change_nothing(unchecked: None) -> None:
    ids, lengths = pad([[1, 2, 3], [4, 5], [6, 7, 8, 9]])
    valid = (torch.arange(4) < lengths[:, None]).flatten().nonzero().squeeze(1)
    model = student().eval()
    assert torch.equal(model(ids, lengths), model(ids, lengths, valid))
    full = torch.full((3,), 4)
    assert torch.equal(model(ids, full), model(ids, full, torch.arange(12)))


def test_batches_know_their_valid_tokens() -> None:
    data = PromptDataModule({"shapes": "shapes:120"}, batch_size=16, val_fraction=0.2)
    data.setup("fit")
    for batch in data.train_dataloader():
        assert isinstance(batch, PromptBatch)
        for some in (batch, batch.widened(16)):
            assert torch.equal(some.valid, some.tokens.mask.flatten().nonzero().squeeze(1))
            assert torch.equal(some.permuted_valid, some.permuted.mask.flatten().nonzero().squeeze(1))
