"""ShapesFitModule: trains the tiny SAM3 that the project ships."""

import math
from itertools import chain
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import Sam3Model

from litetext.data.options import check_minimum, check_share
from litetext.data.shapes.datamodule import ShapesBatch
from litetext.metrics.cgf1 import PhraseCounts, phrase_metrics
from litetext.metrics.counts import per_threshold
from litetext.models.sam3.postprocess import postprocess
from litetext.models.sam3.tiny import PhraseOutputs, encode_both, forward_phrases, tiny_config, tiny_sam3
from litetext.modules.detection_loss import detection_loss
from litetext.modules.optim import by_step, check_rates, count_steps, parameter_groups
from litetext.modules.sam3_fit import Sam3FitModule
from litetext.modules.sam3_folder import open_start
from litetext.modules.shapes_card import export
from litetext.modules.shapes_loss import AttributeHeads
from litetext.saco.instances import Instances, Truth


class ShapesFitModule(Sam3FitModule):
    """Trains a tiny `transformers.Sam3Model` on the world of shapes and exports its averaged weights.

    Args:
        output: Folder that the trained model is exported to at the end of `fit`, one that is not there yet; by default
            `model` beside the run's checkpoints.
        lr: Learning rate at the end of the warm-up; falls as a cosine over the run's steps.
        weight_decay: AdamW's weight decay.
        text_steps: Steps at the start on the auxiliary losses alone; the text side is nearly solved by then.
        auxiliary: Weight of the auxiliary losses after that; falls to a fifth of it.
        ema: Decay of the averaged weights that are validated and exported.
        width: Feature size of everything but the vision tower.
        vision_layers: Blocks of the vision tower.
        layers: Layers of the DETR encoder and of its decoder.
        start: Folder of a trained model to score or to go on from, such as `checkpoints/sam3-tiny`; its sizes then
            hold. None to begin anew.

    Raises:
        ValueError: If an option is out of its range.
    """

    def __init__(
        self,
        output: str | None = None,
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        text_steps: int = 300,
        auxiliary: float = 1.0,
        ema: float = 0.998,
        width: int = 64,
        vision_layers: int = 4,
        layers: int = 2,
        start: str | None = None,
    ) -> None:
        super().__init__(output)
        check_share(model__ema=ema)
        check_rates(lr, weight_decay=weight_decay, text_steps=text_steps, auxiliary=auxiliary)
        check_minimum(1, model__width=width, model__vision_layers=vision_layers, model__layers=layers)
        self.save_hyperparameters()
        self.lr, self.weight_decay = lr, weight_decay
        self.text_steps, self.auxiliary = text_steps, auxiliary
        if start is None:
            self.sam3 = tiny_sam3(tiny_config(width=width, vision_layers=vision_layers, layers=layers))
        else:
            self.sam3 = open_start(start)
            decoder: Any = self.sam3.config.detr_decoder_config
            width = decoder.hidden_size
        self.attributes = AttributeHeads(width)
        self.averaged = AveragedModel(self.sam3, multi_avg_fn=get_ema_multi_avg_fn(ema))
        self.averaged.requires_grad_(False)
        self.val_phrases = phrase_metrics("segm", "val/")
        self.val_counts = PhraseCounts("segm")

    @property
    def steps(self) -> int:
        """Optimizer steps of the run."""
        trainer = self.trainer
        data = trainer.datamodule  # type: ignore[attr-defined]
        return count_steps(trainer, data.steps)[0]

    def trained(self) -> Sam3Model:
        """The model with averaged weights."""
        return cast(Sam3Model, self.averaged.module)

    def training_step(self, batch: ShapesBatch, batch_idx: int) -> Tensor:
        """The losses of one batch, auxiliary ones alone at first."""
        step = self.trainer.global_step
        mask = batch.tokens.mask
        positive = batch.owner.unique()
        if step < self.text_steps or not len(positive):
            text, levels, _ = encode_both(self.sam3, batch.pixels, batch.tokens.ids, mask)
            loss = self.attributes(text, mask, levels[-1], batch)
            self.log("train/attributes", loss)
            return loss
        out = forward_phrases(self.sam3, batch.pixels, batch.image, batch.tokens.ids, mask, positive)
        losses = detection_loss(out, batch, positive)
        attributes = self.attributes(out.text, mask, out.cells, batch)
        done = (step - self.text_steps) / max(1, self.steps - self.text_steps)
        loss = torch.stack(list(losses.values())).sum() + self.auxiliary * (1 - 0.8 * min(1, 2 * done)) * attributes
        self.log("train/loss", loss, prog_bar=True)
        self.log_dict({f"train/{name}": value for name, value in {**losses, "attributes": attributes}.items()})
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Steps, then averages the weights: before any callback may save them."""
        super().optimizer_step(*args, **kwargs)
        self.averaged.update_parameters(self.sam3)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with a short linear warm-up after each of the two beginnings, then a cosine, by step."""
        parameters = chain(self.sam3.parameters(), self.attributes.parameters())
        groups = parameter_groups(parameters, self.weight_decay)
        optimizer = torch.optim.AdamW(groups, lr=self.lr, betas=(0.9, 0.98), fused=True)
        total, begin = self.steps, self.text_steps

        def factor(step: int) -> float:
            since = step if step < begin else step - begin
            return min(1.0, (since + 1) / 100) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1, step / total))))

        return by_step(optimizer, factor)

    def validation_step(self, batch: ShapesBatch, batch_idx: int) -> None:
        """Scores the averaged weights on held-out scenes."""
        out = forward_phrases(self.trained(), batch.pixels, batch.image, batch.tokens.ids, batch.tokens.mask)
        found = detections(out, batch.pixels.shape[-1])
        truths = [Truth(batch.masks[batch.owner == n]) for n in range(len(batch.image))]
        ids = batch.number.tolist()
        self.val_phrases.update(ids, found, truths)
        self.val_counts.update(ids, found, truths)

    def on_validation_epoch_end(self) -> None:
        """Logs CG_F1, IL_MCC, pmF1, and the F1 of masks at IoU 0.5 and 0.75."""
        f1 = per_threshold(self.val_counts.counts())["F1"]
        values = {name: float(value) for name, value in self.val_phrases.compute().items()}
        values |= {"val/F1_50": float(f1[0]), "val/F1_75": float(f1[5])}
        self.scores = {name.removeprefix("val/"): value for name, value in values.items()}
        self.log_dict(values, prog_bar=True, sync_dist=True)
        self.val_phrases.reset()
        self.val_counts.reset()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the scores."""
        checkpoint["litetext"] = {"scores": dict(self.scores)}

    def export(self, folder: Path) -> None:
        """Writes the averaged weights and the model's card."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        export(self.trained(), folder, self.scores, self.trainer.global_step, data)


def detections(out: PhraseOutputs, size: int) -> list[Instances]:
    """What the metrics count of N phrases, see `litetext.models.sam3.postprocess`.

    Args:
        out: Detections of N phrases.
        size: Side of the images in pixels.

    Returns:
        One entry a phrase with the queries that score at least 0.5.
    """
    return postprocess(out.logits[-1], out.presence[-1], out.boxes[-1], out.masks, (size, size))
