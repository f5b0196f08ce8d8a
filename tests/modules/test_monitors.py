"""No fit keeps the worst weights for the best, and none trains towards a score that nobody logs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import Callback

from litetext.models.text.mobileclip import MobileClipText
from litetext.modules.distill import DistillModule
from litetext.modules.monitors import check_monitors, score_directions
from tests.fixtures.runs import Answer, quiet

FIT = ("fit", "--config", "tiny.yaml")
_PLATEAU = {"class_path": "lightning.pytorch.cli.ReduceLROnPlateau", "init_args": {"monitor": "val/cosine"}}
_STOPPING = {"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": {"monitor": "val/agreement"}}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        # The mode is the config's, which has another score.
        ({"checkpoint": {"monitor": "val/loss"}}, "val/loss is better the lower it is: the worst would be taken"),
        ({"checkpoint": {"mode": "min"}}, "val/agreement is better the higher it is"),
        ({"checkpoint": {"monitor": "val/agreemnt"}}, "which DistillModule does not log; it logs val/cosine, val/"),
        ({"trainer": {"callbacks": [_STOPPING]}}, "give trainer.callbacks.EarlyStopping.mode max"),
        ({"model": {"init_args": {"warmup_epochs": 10, "lr_scheduler": _PLATEAU}}}, "give model.lr_scheduler.mode max"),
    ],
)
def test_a_score_is_followed_the_right_way(
    options: dict[str, Any], told: str, folder: Path, refused: Callable[..., str]
) -> None:
    Path("mine.yaml").write_text(yaml.safe_dump(options))
    assert told in refused(*FIT, "--config", "mine.yaml")
    assert not list(Path().rglob("*.ckpt"))


def test_the_right_way_is_taken(folder: Path, litetext: Callable[..., Answer], teacher_file: Path) -> None:
    answer = litetext(*FIT, "--trainer.max_epochs=1", "--checkpoint.monitor=val/loss", "--checkpoint.mode=min")
    assert answer.code == 0, answer.err
    scores = torch.load("checkpoints/tiny/best.ckpt", weights_only=True)["litetext"]["scores"]
    module = DistillModule(MobileClipText("nano", layers=1), str(teacher_file))
    assert set(scores) == set(module.score_directions), "what may be monitored is what is logged"


def test_a_callback_of_the_users_may_log_scores_of_its_own() -> None:
    class Mine(Callback):
        monitor, mode = "val/mine", "max"

    class Module(torch.nn.Module):
        score_directions = score_directions(("good",), ("bad",))

    check_monitors(quiet(callbacks=[Mine()]), Module())
    Mine.monitor, Mine.mode = "val/bad", "max"
    with pytest.raises(ValueError, match=r"Mine.mode is max, but .*val/bad is better the lower it is"):
        check_monitors(quiet(callbacks=[Mine()]), Module())
