"""What transformers asks of its own models, asked of an exported folder: 23 checks by the stock classes alone.

Left out: resizing token embeddings, which `Sam3LiteTextModel` does not offer (it has no `get_input_embeddings`).
"""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from litetext.export.targets import export
from litetext.models.text.loading import load_text_encoder
from tests.export.students import checkpoint

PHRASES = ["red circle", "the big blue square with stripes", "star"]
PARTS = ("pred_masks", "pred_boxes", "pred_logits", "presence_logits", "semantic_seg")


class Stock:
    """A folder, and what transformers' classes make of it."""

    def __init__(self, root: Path) -> None:
        from transformers import AutoModel, AutoProcessor

        self.student = checkpoint(root / "s.ckpt", repmixer=True, padding="transformers", layers=2)
        self.folder = root / "out"
        export(self.student, "transformers", str(self.folder), PHRASES, pairs=0)
        self.processor: Any = AutoProcessor.from_pretrained(self.folder)
        self.model: Any = AutoModel.from_pretrained(self.folder)
        seed = torch.Generator().manual_seed(0)
        self.images = [torch.randint(0, 256, (3, 60, 80), dtype=torch.uint8, generator=seed) for _ in PHRASES]
        self.inputs = self.processor(images=self.images, text=PHRASES, return_tensors="pt")
        self.found = self.run()

    def open(self, where: Path | None = None, **options: Any) -> Any:
        from transformers import AutoModel

        return AutoModel.from_pretrained(where or self.folder, **options)

    @torch.no_grad()
    def run(self, model: Any = None, **inputs: Any) -> Any:
        return (model or self.model)(**(inputs or self.inputs))


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Stock:
    return Stock(tmp_path_factory.mktemp("stock"))


def close(found: Any, other: Any, bound: float = 1e-4) -> None:
    for part in PARTS:
        torch.testing.assert_close(found[part], other[part], rtol=bound, atol=bound, msg=lambda m, p=part: f"{p}: {m}")


def equal(found: Any, other: Any) -> None:
    for part in PARTS:
        assert torch.equal(found[part], other[part]), part


def round_trip(stock: Stock, root: Path) -> None:
    stock.model.save_pretrained(root)
    again = stock.open(root)
    equal(stock.run(again), stock.found)
    assert again.config.to_dict().keys() == stock.model.config.to_dict().keys()


def shards(stock: Stock, root: Path) -> None:
    stock.model.save_pretrained(root, max_shard_size="1MB")
    assert len(list(root.glob("*.safetensors"))) > 1
    equal(stock.run(stock.open(root)), stock.found)


def configuration(stock: Stock, root: Path) -> None:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(stock.folder)
    config.save_pretrained(root)
    again = AutoConfig.from_pretrained(root)
    assert again.to_diff_dict() | {"_name_or_path": ""} == config.to_diff_dict() | {"_name_or_path": ""}
    assert type(config).__name__ == "Sam3LiteTextConfig"


def whole(stock: Stock, _: Path) -> None:
    _, told = stock.open(output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    assert not told["mismatched_keys"]


def file_and_model(stock: Stock, _: Path) -> None:
    held, state = load_file(stock.folder / "model.safetensors"), stock.model.state_dict()
    assert held.keys() == state.keys()
    assert all(torch.equal(held[key], state[key]) for key in held)


def seeds_do_not_matter(stock: Stock, _: Path) -> None:
    torch.manual_seed(1)
    one = stock.open()
    torch.manual_seed(2)
    equal(stock.run(one), stock.run(stock.open()))


def repeats(stock: Stock, _: Path) -> None:
    equal(stock.run(), stock.found)


def tuples(stock: Stock, _: Path) -> None:
    told = stock.run(**stock.inputs, return_dict=False)
    named = [value for value in stock.found.to_tuple() if torch.is_tensor(value)]
    assert all(torch.equal(a, b) for a, b in zip([v for v in told if torch.is_tensor(v)], named, strict=True))


def batches(stock: Stock, _: Path) -> None:
    for n in range(len(PHRASES)):
        inputs = stock.processor(images=[stock.images[n]], text=[PHRASES[n]], return_tensors="pt")
        close(stock.run(**inputs), {part: stock.found[part][n : n + 1] for part in PARTS})


def order(stock: Stock, _: Path) -> None:
    turned = {key: value.flip(0) for key, value in stock.inputs.items() if torch.is_tensor(value)}
    close(stock.run(**turned), {part: stock.found[part].flip(0) for part in PARTS})


def eager(stock: Stock, _: Path) -> None:
    assert stock.model.config._attn_implementation == "sdpa"
    model = stock.open(attn_implementation="eager")
    assert model.config._attn_implementation == "eager"
    close(stock.run(model), stock.found)


def attentions(stock: Stock, _: Path) -> None:
    found = stock.run(stock.open(attn_implementation="eager"), **stock.inputs, output_attentions=True)
    maps = [one for name in found if name.endswith("attentions") for one in found[name] or () if torch.is_tensor(one)]
    assert maps
    assert all(one.isfinite().all() for one in maps)
    close(found, stock.found)


def hidden_states(stock: Stock, _: Path) -> None:
    found = stock.run(**stock.inputs, output_hidden_states=True)
    states = [one for name in found if name.endswith("hidden_states") for one in found[name] or ()]
    assert all(one.isfinite().all() for one in states)
    assert len(states) > 5
    equal(found, stock.found)


def bfloat16(stock: Stock, _: Path) -> None:
    model = stock.open(dtype=torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    halves = {k: v.bfloat16() if v.is_floating_point() else v for k, v in stock.inputs.items() if torch.is_tensor(v)}
    text = stock.run(model, **halves).pred_logits.float()
    assert torch.cosine_similarity(text.flatten(), stock.found.pred_logits.flatten(), dim=0) > 0.99


def float16_file(stock: Stock, root: Path) -> None:
    half = stock.open(dtype=torch.float16)
    half.save_pretrained(root)
    assert (root / "model.safetensors").stat().st_size < 0.6 * (stock.folder / "model.safetensors").stat().st_size
    again = stock.open(root, dtype="auto")
    assert again.dtype == torch.float16
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in half.state_dict().items())


def device_map(stock: Stock, _: Path) -> None:
    pytest.importorskip("accelerate", reason="transformers takes device_map where accelerate is installed alone")
    model = stock.open(device_map={"": "cpu"})
    assert model.device == torch.device("cpu")
    equal(stock.run(model), stock.found)


def gradients(stock: Stock, _: Path) -> None:
    model = stock.open().train()
    output = model(**stock.inputs)
    (output.pred_logits.sum() + output.pred_masks.sum()).backward()
    text = {name: p.grad for name, p in model.text_encoder.named_parameters()}
    unused = {name for name, grad in text.items() if grad is None}
    assert unused <= {"projection.weight"}, "the pooled feature alone is no detector's input"
    learnt = [grad for grad in text.values() if grad is not None]
    assert all(grad.isfinite().all() for grad in learnt)
    assert any(grad.abs().sum() > 0 for grad in learnt)


def gradient_checkpointing(stock: Stock, _: Path) -> None:
    found = []
    for kept in (True, False):
        model = stock.open().train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        if not kept:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            assert model.is_gradient_checkpointing
        model(**stock.inputs).pred_logits.sum().backward()
        found.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, grad in found[0].items():
        torch.testing.assert_close(grad, found[1][name], rtol=1e-3, atol=1e-4, msg=name)


def text_ahead(stock: Stock, _: Path) -> None:
    with torch.no_grad():
        words = {key: stock.inputs[key] for key in ("input_ids", "attention_mask")}
        text = stock.model.get_text_features(**words)  # as a whole: the model looks for its pooler_output
        mask = stock.inputs["attention_mask"]
        found = stock.run(pixel_values=stock.inputs["pixel_values"], text_embeds=text, attention_mask=mask)
    close(found, stock.found, 1e-5)


def vision_ahead(stock: Stock, _: Path) -> None:
    with torch.no_grad():
        seen = stock.model.get_vision_features(pixel_values=stock.inputs["pixel_values"])
    words = {key: stock.inputs[key] for key in ("input_ids", "attention_mask")}
    close(stock.run(vision_embeds=seen, **words), stock.found, 1e-5)


def copies(stock: Stock, _: Path) -> None:
    other = copy.deepcopy(stock.model)
    with torch.no_grad():
        next(iter(other.text_encoder.parameters())).add_(1.0)
    equal(stock.run(), stock.found)
    assert not torch.equal(stock.run(other).pred_logits, stock.found.pred_logits)


def processor(stock: Stock, root: Path) -> None:
    from transformers import AutoProcessor

    stock.processor.save_pretrained(root)
    again = AutoProcessor.from_pretrained(root)(images=stock.images, text=PHRASES, return_tensors="pt")
    assert again.keys() == stock.inputs.keys()
    assert all(torch.equal(again[key], value) for key, value in stock.inputs.items() if torch.is_tensor(value))


def tokenizer(stock: Stock, root: Path) -> None:
    from transformers import AutoTokenizer

    words: Any = AutoTokenizer.from_pretrained(stock.folder)
    assert words.padding_side == "right"
    rows = words(PHRASES)["input_ids"]
    assert rows == [words(phrase)["input_ids"] for phrase in PHRASES]
    assert rows == load_text_encoder(stock.student).tokenizer.encode(PHRASES)
    words.save_pretrained(root)
    assert AutoTokenizer.from_pretrained(root)(PHRASES)["input_ids"] == rows
    assert [words.decode(row, skip_special_tokens=True).strip() for row in rows] == PHRASES


CHECKS: tuple[Callable[[Stock, Path], None], ...] = (
    round_trip, shards, configuration, whole, file_and_model, seeds_do_not_matter, repeats, tuples, batches, order,
    eager, attentions, hidden_states, bfloat16, float16_file, device_map, gradients, gradient_checkpointing,
    text_ahead, vision_ahead, copies, processor, tokenizer,
)  # fmt: skip


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_an_exported_folder_is_a_model_of_transformers(
    check: Callable[[Stock, Path], None], stock: Stock, tmp_path: Path
) -> None:
    check(stock, tmp_path)
