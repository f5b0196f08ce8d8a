"""Class paths of earlier versions: configs that were saved with them still run.

A config names a class by the package that offers it (`litetext.modules.DistillModule`), so that files can move. Configs
that Lightning saved hold the module that defined the class at that time; this is the table of those that have moved.
"""

import re

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
_PUBLIC = {**_MOVED, **_DEFINED}
_PATTERN = re.compile(r"(?<![\w.])(" + "|".join(re.escape(path) for path in _PUBLIC) + r")(?!\w)")


def public_paths(text: str) -> str:
    """Names each class of litetext in a config or an argument by the package that offers it.

    Args:
        text: YAML, JSON or one word of a command line.

    Returns:
        The text with today's public class paths; everything else is as it was.
    """
    return _PATTERN.sub(lambda found: _PUBLIC[found[1]], text)
