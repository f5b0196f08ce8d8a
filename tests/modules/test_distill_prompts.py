"""Bad and odd prompts of a distillation."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from litetext.data.prompts.datamodule import PromptDataModule
from tests.fixtures.runs import Answer, finite

FIT = ("fit", "--config", "tiny.yaml")


ONE = ("--trainer.max_epochs", "1")


class Harm:
    """Makes a file when unpickled."""

    def __reduce__(self) -> tuple:
        return (open, ("harmed", "w"))


def good_prompts(count: int = 60) -> list[str]:
    return [f"{colour} thing {i}" for i, colour in zip(range(count), ["red", "blue", "green"] * count, strict=False)]


def write_bad(kind: str, teacher: Path) -> list[str]:
    """Writes one bad file and gives the options that name it."""
    if kind == "invalid utf-8":
        Path("bad.txt").write_bytes("\n".join(good_prompts()).encode() + b"\n\xff\xfe\n")
    elif kind == "empty corpus":
        Path("bad.txt").write_text("\n \n\t\n")
    elif kind == "empty file":
        Path("bad.txt").write_bytes(b"")
    elif kind == "pickle that calls":
        folder = Path("refcoco")
        folder.mkdir()
        (folder / "refs(unc).p").write_bytes(pickle.dumps([{"sentences": Harm()}]))
        return ["--data.sources.refcoco", "refcoco"]
    elif kind == "truncated teacher":
        whole = teacher.read_bytes()
        Path("cut.safetensors").write_bytes(whole[: len(whole) // 2])
        return ["--model.teacher", "cut.safetensors"]
    elif kind == "teacher without text":
        from safetensors.torch import save_file

        save_file({"vision.weight": torch.zeros(3)}, "other.safetensors")
        return ["--model.teacher", "other.safetensors"]
    elif kind == "too long":
        Path("bad.txt").write_text("\n".join([*good_prompts(), "a " * 5000]))
        return ["--data.sources", '{"mine": "bad.txt"}', "--data.overflow", "error"]
    elif kind == "all in one":
        return ["--data.val_fraction", "0.0001"]
    return ["--data.sources.mine", "bad.txt"]


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("invalid utf-8", ["bad.txt", "UTF-8"]),
        ("empty corpus", ["'mine'", "bad.txt holds no prompt", "3 entries read, 3 of them empty"]),
        ("empty file", ["'mine'", "bad.txt"]),
        ("pickle that calls", ["refs(unc).p"]),
        ("truncated teacher", ["cut.safetensors", "cannot be read"]),
        ("teacher without text", ["other.safetensors"]),
        ("too long", ["prompt 'a a a", "5002 tokens", "context_length=16", "truncate"]),
        ("all in one", ["no validation prompts", "data.val_fraction=0.0001"]),
    ],
)
def test_bad_inputs_are_refused_in_one_line(
    kind: str, told: list[str], folder: Path, teacher_file: Path, refused: Callable[..., str]
) -> None:
    line = refused(*FIT, *write_bad(kind, teacher_file))
    for part in told:
        assert part in line
    assert not Path("harmed").exists()


def test_odd_prompts_are_trained_on(folder: Path, litetext: Callable[..., Answer]) -> None:
    odd = [
        "",
        "   ",
        "long " * 2000,
        "nul\0byte",
        "🦊 fox 👩‍👩‍👧",
        "Ünïcode Ça",
        "<b>&amp;</b>",
        "\u200b",
        "red thing 0",
    ]
    Path("odd.json").write_text(json.dumps(good_prompts() + odd))
    config = yaml.safe_load(Path("tiny.yaml").read_text())
    config["data"]["init_args"]["sources"] = {"odd": "odd.json"}
    Path("odd.yaml").write_text(yaml.safe_dump(config))
    assert litetext("fit", "--config", "odd.yaml", *ONE).code == 0
    assert finite("checkpoints/odd/last.ckpt")
    data = PromptDataModule({"odd": "odd.json"}, val_fraction=0.2)
    data.setup("fit")
    assert "" not in data.prompts
    assert "   " not in data.prompts
    assert "nul\0byte" in data.prompts
    assert "🦊 fox 👩‍👩‍👧" in data.prompts
    assert data.tokenizer.truncated > 0
    assert max(map(len, data.rows)) == 16
    assert len(data.prompts) == len(set(map(tuple, data.rows)))
