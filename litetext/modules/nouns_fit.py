"""NounsFitModule: trains the tiny SAM3 for the world of nouns that the project ships."""

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from transformers import Sam3Model

from litetext.data.nouns.batches import KIND_NAMES, NounsBatch
from litetext.data.nouns.datamodule import Stages
from litetext.data.options import check_share
from litetext.metrics.assess import assess
from litetext.metrics.cgf1 import PhraseCounts
from litetext.metrics.counts import headline, per_threshold
from litetext.models.sam3.postprocess import postprocess
from litetext.models.sam3.tiny import forward_phrases, tiny_config, tiny_sam3
from litetext.modules.detection_loss import detection_loss
from litetext.modules.muon import Muon
from litetext.modules.nouns_card import export, kind_table
from litetext.modules.nouns_loss import NounsHeads
from litetext.modules.optim import by_step
from litetext.modules.sam3_fit import Sam3FitModule
from litetext.modules.sam3_folder import open_start
from litetext.saco.instances import Instances, Truth
from litetext.tokenizer import END


class NounsFitModule(Sam3FitModule):
    """Trains a tiny `transformers.Sam3Model` on the world of nouns in three stages and exports its averaged weights.

    First the vision tower learns to name what it sees and the text tower to read phrases, each by itself and with
    one matrix of nouns; then everything learns to detect.

    Args:
        output: Folder that the trained model is exported to at the end of `fit`, one that is not there yet; by default
            `model` beside the run's checkpoints.
        lr: AdamW's learning rate at the end of each stage's warm-up; falls as a cosine over the stage.
        muon: Muon's learning rate in the stages of the towers, for the matrices of all layers.
        joint_muon: Muon's learning rate in the joint stage.
        weight_decay: Decay of all matrices but the token embedding.
        auxiliary: Weight in the joint stage of what the towers learned before; falls to a fifth of it.
        roles: Weight of what image cells are to a phrase; falls to a third of it.
        presence: Weight of presence beside the other detection losses.
        ema: Decay of the averaged weights that are validated and exported.
        width: Feature size of everything but the two towers.
        layers: Layers of the DETR encoder.
        decoder_layers: Layers of the DETR decoder.
        vision_width: Feature size of the vision tower.
        vision_layers: Blocks of the vision tower.
        text_width: Feature size of the text tower.
        text_layers: Layers of the text tower.
        queries: Object queries.
        compiled: On a GPU, compile the layers of the vision tower and of the detector: a sixth faster after 40 seconds.
        start: Folder of a trained model to score or to go on from, such as `checkpoints/sam3-nouns`; its sizes then
            hold. None to begin anew.

    Raises:
        ValueError: If an option is out of its range.
    """

    def __init__(
        self,
        output: str | None = None,
        lr: float = 1e-3,
        muon: float = 0.02,
        joint_muon: float = 0.006,
        weight_decay: float = 0.01,
        auxiliary: float = 1.0,
        roles: float = 1.0,
        presence: float = 1.0,
        ema: float = 0.999,
        width: int = 96,
        layers: int = 4,
        decoder_layers: int = 3,
        vision_width: int = 128,
        vision_layers: int = 4,
        text_width: int = 128,
        text_layers: int = 4,
        queries: int = 20,
        compiled: bool = False,
        start: str | None = None,
    ) -> None:
        super().__init__(output)
        check_share(model__ema=ema)
        self.save_hyperparameters()
        self.lr, self.muon, self.joint_muon = lr, muon, joint_muon
        self.weight_decay, self.ema = weight_decay, ema
        self.auxiliary, self.roles, self.presence = auxiliary, roles, presence
        if start is None:
            config = tiny_config(
                width=width,
                vision_layers=vision_layers,
                layers=layers,
                decoder_layers=decoder_layers,
                vision_width=vision_width,
                text_width=text_width,
                text_layers=text_layers,
                queries=queries,
            )
            self.sam3 = tiny_sam3(config)
        else:
            self.sam3 = open_start(start)
        encoder: Any = self.sam3.config.detr_encoder_config
        self.heads = NounsHeads(encoder.hidden_size, encoder.num_layers)
        self.smooth = copy.deepcopy(self.sam3).requires_grad_(False)
        # Tokens met in training. The rows of others stay zero in the averaged weights: a word never met says nothing,
        # where a random row would say anything.
        tokens = _token_table(self.smooth)
        self.register_buffer("met", torch.zeros(len(tokens), dtype=torch.bool) if start is None else tokens.any(1))
        tokens[~self.met] = 0
        self.compiled = compiled
        self.counts = PhraseCounts("segm")
        self.kinds = torch.nn.ModuleList(PhraseCounts("segm") for _ in KIND_NAMES)
        self.by_kind: dict[str, dict[str, float]] = {}
        self.curve: list[dict[str, float]] = []

    @property
    def stages(self) -> Stages:
        """Steps of the run's stages."""
        return self.trainer.datamodule.stages  # type: ignore[attr-defined]

    met: Tensor

    def on_fit_start(self) -> None:
        """On a GPU, multiplies float32 matrices in TF32, and compiles the layers if that was asked for."""
        if self.device.type != "cuda":
            return
        torch.backends.cuda.matmul.allow_tf32 = True
        if self.compiled:
            parts: Any = self.sam3
            for layers in (parts.vision_encoder.backbone.layers, parts.detr_encoder.layers, parts.detr_decoder.layers):
                for layer in layers:
                    layer.compile(dynamic=False)

    def training_step(self, batch: NounsBatch, batch_idx: int) -> Tensor:
        """The losses of one batch: what it holds says which stage it is of."""
        mask = batch.tokens.mask
        self.met.index_fill_(0, batch.tokens.ids.masked_fill(~mask, END).flatten(), True)
        if not len(mask):
            vision: Any = self.sam3.vision_encoder(batch.images)
            loss, right = self.heads.vision_loss(vision.fpn_hidden_states[2], batch)
            return self._note(loss, {"vision": loss, "cells_right": right})
        if not len(batch.pixels):
            encoded: Any = self.sam3.get_text_features(input_ids=batch.tokens.ids, attention_mask=mask.long())  # type: ignore[arg-type]
            loss, read = self.heads.text_loss(encoded.pooler_output, mask, batch, frozen=True)
            return self._note(loss, {"text": loss, "noun_right": read["noun"], "phrase_right": read["all"]})
        out = forward_phrases(self.sam3, batch.images, batch.image, batch.tokens.ids, mask, batch.positive)
        losses = detection_loss(out, batch, batch.positive)
        losses["presence"] = self.presence * losses["presence"]
        vision_loss, right = self.heads.vision_loss(out.cells, batch)
        text_loss, read = self.heads.text_loss(out.text, mask, batch)
        role_loss = self.heads.role_loss(list(out.encoded), batch)
        done = min(1.0, (self.trainer.global_step - self.stages.towers) / max(1, self.stages.joint))
        loss = torch.stack(list(losses.values())).sum()
        loss = loss + self.auxiliary * (1 - 0.8 * done) * (vision_loss + text_loss)
        loss = loss + self.roles * (1 - 0.67 * done) * role_loss
        shares = {"cells_right": right, "noun_right": read["noun"], "phrase_right": read["all"]}
        shares |= self._presence_right(out.presence[-1], batch)
        return self._note(loss, {**losses, "vision": vision_loss, "text": text_loss, "roles": role_loss, **shares})

    def _presence_right(self, presence: Tensor, batch: NounsBatch) -> dict[str, Tensor]:
        """Shares of phrases of some kinds whose presence is predicted right; nothing between two logs."""
        if not self._logs:
            return {}
        right = (presence > 0) == torch.zeros_like(presence).bool().index_fill(0, batch.positive, True)
        kinds = {kind: batch.kind == KIND_NAMES.index(kind) for kind in ("noun", "attribute", "position", "relation")}
        shares = {f"{kind}_presence": (right & mine).sum() / mine.sum().clamp(min=1) for kind, mine in kinds.items()}
        return {"presence_right": right.float().mean(), **shares}

    @property
    def _logs(self) -> bool:
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        return every > 0 and self.trainer.global_step % every == 0

    def _note(self, loss: Tensor, parts: dict[str, Tensor]) -> Tensor:
        """Logs every now and then: values are fetched from the accelerator, which then has to wait."""
        if self._logs:
            values = {f"train/{name}": value.detach() for name, value in {"loss": loss, **parts}.items()}
            self.log_dict(values, batch_size=1)
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Steps, then averages the weights: before any callback may save them."""
        super().optimizer_step(*args, **kwargs)
        step = self.trainer.global_step
        decay = min(self.ema, (1 + step) / (10 + step))
        each: Any = torch
        with torch.no_grad():
            each._foreach_lerp_(list(self.smooth.parameters()), list(self.sam3.parameters()), 1 - decay)
            _token_table(self.smooth).mul_(self.met[:, None])

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Muon for the matrices of all layers, AdamW for the rest; each stage has a warm-up and a cosine of its own."""
        matrices, embeddings, rest, vectors = [], [], [], []
        for name, parameter in [*self.sam3.named_parameters(), *self.heads.named_parameters()]:
            if parameter.ndim == 2 and ".layers." in name and "rpb" not in name:
                matrices.append(parameter)
            elif "embedding" in name:
                embeddings.append(parameter)
            else:
                (rest if parameter.ndim > 1 else vectors).append(parameter)
        groups = [
            {"params": matrices, "muon": True, "lr": 1.0},
            {"params": rest, "lr": self.lr},
            {"params": [*embeddings, *vectors], "lr": self.lr, "weight_decay": 0.0},
        ]
        optimizer = Muon(groups, weight_decay=self.weight_decay)
        stages = self.stages

        def within(step: int) -> tuple[bool, float]:
            begin, length = 0, stages.vision
            joint = step >= stages.towers
            if joint:
                begin, length = stages.towers, stages.joint
            elif step >= stages.vision:
                begin, length = stages.vision, stages.text
            since, warm = step - begin, max(1, min(200, length // 10))
            wave = 0.5 * (1 + math.cos(math.pi * min(1.0, since / max(1, length))))
            return joint, min(1.0, (since + 1) / warm) * (0.02 + 0.98 * wave)

        def adam(step: int) -> float:
            return within(step)[1]

        def muon(step: int) -> float:
            joint, factor = within(step)
            return factor * (self.joint_muon if joint else self.muon)

        return by_step(optimizer, [muon, adam, adam])

    def validation_step(self, batch: NounsBatch, batch_idx: int) -> None:
        """Scores the averaged weights on held-out scenes."""
        with torch.autocast(self.device.type, enabled=False):  # scored as it is used: in float32
            out = forward_phrases(self.smooth, batch.images, batch.image, batch.tokens.ids, batch.tokens.mask)
        size = (batch.pixels.shape[-2], batch.pixels.shape[-1])
        found = postprocess(out.logits[-1], out.presence[-1], out.boxes[-1], out.masks, size)
        detections = [Instances(one.scores.cpu(), one.boxes.cpu(), one.masks.cpu()) for one in found]
        owner, masks = batch.owner.cpu(), batch.masks.cpu()
        truths = [[Truth(masks[owner == n])] for n in range(len(batch.image))]
        rows, numbers, kinds = assess(detections, truths, "segm"), batch.number.cpu().numpy(), batch.kind.cpu().numpy()
        self.counts.add_rows(numbers.tolist(), rows)
        for kind in np.unique(kinds):
            mine: Any = self.kinds[int(kind)]
            mine.add_rows(numbers[kinds == kind].tolist(), rows[kinds == kind])

    def on_validation_epoch_end(self) -> None:
        """Logs CG_F1, IL_MCC, pmF1, and the F1 of masks at IoU 0.5 and 0.75; prints them by kind of phrase."""
        every = {"all": self.counts, **dict(zip(KIND_NAMES, self.kinds, strict=True))}
        self.by_kind = {}
        for name, metric in every.items():
            counts: Any = metric
            with counts.sync_context():
                numbers = counts.counts()
            if numbers.images.sum():
                f1 = per_threshold(numbers)["F1"]
                self.by_kind[name] = {
                    "phrases": float(numbers.images.sum()),
                    **headline(numbers),
                    "F1_50": float(f1[0]),
                    "F1_75": float(f1[5]),
                }
            counts.reset()
        self.scores = {name: value for name, value in self.by_kind["all"].items() if name != "phrases"}
        values = {f"val/{name}": torch.tensor(value, device=self.device) for name, value in self.scores.items()}
        self.log_dict(values, prog_bar=True)
        if self.trainer.sanity_checking:
            return
        if self.trainer.state.fn == TrainerFn.FITTING:
            self.curve.append({"step": float(self.trainer.global_step), **self.scores})
        if self.trainer.is_global_zero:
            print(f"step {self.trainer.global_step}\n{kind_table(self.by_kind)}", flush=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the scores and their course."""
        checkpoint["litetext"] = {"scores": self.scores, "by_kind": self.by_kind, "curve": self.curve}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes up the course of the scores.

        Raises:
            ValueError: Weights are not finite; naming the first.
        """
        super().on_load_checkpoint(checkpoint)
        saved = checkpoint.get("litetext", {})
        self.scores, self.by_kind = dict(saved.get("scores", {})), dict(saved.get("by_kind", {}))
        self.curve = list(saved.get("curve", []))

    def trained(self) -> Sam3Model:
        """The model with averaged weights."""
        return self.smooth

    def export(self, folder: Path) -> None:
        """Writes the averaged weights and the model's card."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        export(self.smooth, folder, self.by_kind, self.curve, data)


def _token_table(model: Sam3Model) -> Tensor:
    """The rows of the text tower's tokens."""
    encoder: Any = model.text_encoder
    return encoder.get_input_embeddings().weight.data
