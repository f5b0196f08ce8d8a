"""Class paths and options of earlier versions: configs that were saved with them still run.

A config names a class by the package that offers it (`litetext.modules.DistillModule`), so that files can move. Configs
that Lightning saved hold the module that defined the class at that time; this is the table of those that have moved.
"""

import re
from typing import Any

_MOVED = {
    "litetext.data.prompt_datamodule.PromptDataModule": "litetext.data.PromptDataModule",
    "litetext.data.phrase_list.PhraseListDataModule": "litetext.data.PhraseListDataModule",
    "litetext.data.seg_datamodule.SegDataModule": "litetext.data.SegDataModule",
    "litetext.data.veval.VideoDataModule": "litetext.data.VideoDataModule",
    "litetext.data.shapes_datamodule.ShapesDataModule": "litetext.data.ShapesDataModule",
    "litetext.models.mobileclip.MobileClipText": "litetext.models.MobileClipText",
}
# Where these classes lie today: one config may name the package, another the file.
_DEFINED = {
    "litetext.data.prompts.datamodule.PromptDataModule": "litetext.data.PromptDataModule",
    "litetext.data.prompts.phrase_list.PhraseListDataModule": "litetext.data.PhraseListDataModule",
    "litetext.data.images.datamodule.SegDataModule": "litetext.data.SegDataModule",
    "litetext.data.videos.datamodule.VideoDataModule": "litetext.data.VideoDataModule",
    "litetext.data.shapes.datamodule.ShapesDataModule": "litetext.data.ShapesDataModule",
    "litetext.models.text.mobileclip.MobileClipText": "litetext.models.MobileClipText",
    "litetext.modules.distill.DistillModule": "litetext.modules.DistillModule",
    "litetext.modules.seg_eval.SegEvalModule": "litetext.modules.SegEvalModule",
    "litetext.modules.video_eval.VideoEvalModule": "litetext.modules.VideoEvalModule",
    "litetext.modules.prompt_bank.PromptBankModule": "litetext.modules.PromptBankModule",
    "litetext.modules.shapes_fit.ShapesFitModule": "litetext.modules.ShapesFitModule",
}
_RENAMED = {"least": "min_score"}
"""Options of `model` that have another name today, by their earlier one."""
_OPTION = re.compile(r"(--model(?:\.init_args)?\.)(" + "|".join(_RENAMED) + r")(?==|$)")
_PUBLIC = {**_MOVED, **_DEFINED}
_PATTERN = re.compile(r"(?<![\w.])(" + "|".join(re.escape(path) for path in _PUBLIC) + r")(?!\w)")


def public_paths(text: str) -> str:
    """Names each class of litetext in a config or an argument by the package that offers it.

    Args:
        text: YAML, JSON or one word of a command line.

    Returns:
        The text with today's public class paths; everything else is as it was.
    """
    return _PATTERN.sub(lambda match: _PUBLIC[match[1]], text)


def public_option(word: str) -> str:
    """An option of the command line under today's name: `--model.least` is `--model.min_score`."""
    return _OPTION.sub(lambda match: match[1] + _RENAMED[match[2]], word)


def public_options(config: dict[str, Any]) -> dict[str, Any]:
    """A config whose options of `model` have today's names; where both names occur, today's counts.

    Args:
        config: What a config file holds; it stays as it is.
    """
    model = config.get("model")
    if not isinstance(model, dict):
        return config
    model = _renamed(model)
    if isinstance(model.get("init_args"), dict):
        model["init_args"] = _renamed(model["init_args"])
    return {**config, "model": model}


def _renamed(options: dict[str, Any]) -> dict[str, Any]:
    given = {_RENAMED.get(name, name): value for name, value in options.items()}
    return given | {name: value for name, value in options.items() if name in given}
