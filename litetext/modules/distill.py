"""DistillModule: a frozen text encoder teaches a compact student, on tokens."""

import math
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from litetext.checkpoints.hub_tokenizer import HubTokenizer
from litetext.data.features.store import FeatureStore
from litetext.data.options import check_minimum
from litetext.data.prompts.datamodule import PromptBatch, PromptDataModule
from litetext.losses import consistency, masked_cosine, masked_mse, pool
from litetext.metrics.agreement import Agreement
from litetext.models.finite import check_weights
from litetext.models.text import destinations
from litetext.models.text.encoder import TextEncoder, known
from litetext.models.text.static import StaticText
from litetext.models.text.student import Student
from litetext.models.text.students import load_student
from litetext.modules import distill_report, taught
from litetext.modules.checkpointing import best_of
from litetext.modules.distill_optim import check_loss_weights, check_recipe
from litetext.modules.gradients import kept
from litetext.modules.run_data import run_data
from litetext.modules.start import RecipeName, absent_tokens, resolve, start
from litetext.modules.stored_features import describe_store, store_features
from litetext.modules.student_training import StudentTraining
from litetext.modules.teacher import CACHE, Teacher, check_teacher, teacher_tokenizer

PARTS = ("mse", "cosine_distance", "consistency")
"""The losses, by the names of `losses` and of the logs."""


class DistillModule(StudentTraining):
    """Distils a text encoder into a student: L = MSE + 2.0 cosine + 0.1 consistency (paper, equation 3).

    Args:
        student: The student's tower.
        teacher: Whose text encoder teaches: a SAM3 (transformers folder, hub id, Meta's `sam3.pt`); or another (CLIP,
            SigLIP, OWLv2, BERT-like, sentence, Grounding DINO, `package:all-MiniLM-L6-v2`), whose tokenizer the student
            then reads; or `random:SEED`, random weights of SAM3's size (to measure speed; it knows nothing).
        teacher_features: `stored` encodes every prompt once before training and keeps the features on disk,
            `live` runs the teacher in every step.
        features_dir: Folder of the feature stores; each teacher has its own below it, which all corpora share.
        teacher_batch_tokens: Tokens the teacher encodes at once; bounds its memory.
        recipe: `paper` starts the student at random with weight 1 of the MSE, as the paper does; `litetext` starts it
            from the teacher with weight 4. The four options below stand above it where they are given.
        token_start: `teacher` starts the token table from the leading directions of the teacher's; by default as
            `recipe` says.
        freeze_tokens: Leave the token table as it starts; what lifts it learns.
        bias_start: `teacher` starts the projector's bias from the teacher's mean feature; by default as `recipe` says.
        mse_weight: Weight of the MSE, which is a mean over features; the paper writes a sum (equation 4), and its
            reference code takes the mean with weight 1. By default as `recipe` says.
        cosine_weight: Weight of the cosine loss.
        consistency_weight: Weight of the permutation consistency; 0.1 for S0 and S1, 0.05 for L in the paper.
        consistency_padding: Average padding into the pooled features as the reference trainer does; only for a
            student with `padding: reference`.
        lr: Base learning rate, for 512 prompts a step when `scale_lr` is on.
        scale_lr: Multiply the learning rates by prompts per optimizer step / 512, as the reference does.
        weight_decay: Decay of matrices; vectors and biases are not decayed, and the token table only on demand.
        decay_tokens: Decay the token table too, as the reference does. It wipes the rows of tokens that the prompts
            do not hold: no gradient renews them, and 0.6% of their values are left after s0.yaml's run.
        warmup_epochs: Epochs of linear warm-up; a tenth of the run where they would be longer than it.
        warmup_lr: Learning rate at the first step.
        min_lr: Learning rate at the last step.
        optimizer: Another optimizer than the recipe's fused AdamW, by its class and options. It has its own rate, which
            is not scaled.
        lr_scheduler: Another schedule than the recipe's warm-up and cosine, by its class and options.
        lr_scheduler_interval: Whether that schedule steps once an `epoch` or once a `step`.
        compile_student: Mode of torch.compile in which the student trains, on batches filled to one shape, so that
            `reduce-overhead` can record CUDA graphs; null trains it as it is, which is faster on a CPU.

    Raises:
        ValueError: If an option is out of its range.
    """

    def __init__(
        self,
        student: Student,
        teacher: str = "facebook/sam3",
        teacher_features: Literal["stored", "live"] = "stored",
        features_dir: str = "checkpoints/features",
        teacher_batch_tokens: int = 2048,
        recipe: RecipeName = "paper",
        token_start: Literal["random", "teacher"] | None = None,
        freeze_tokens: bool = False,
        bias_start: Literal["zero", "teacher"] | None = None,
        mse_weight: float | None = None,
        cosine_weight: float = 2.0,
        consistency_weight: float = 0.1,
        consistency_padding: bool = False,
        lr: float = 5e-3,
        scale_lr: bool = True,
        weight_decay: float = 0.05,
        decay_tokens: bool = False,
        warmup_epochs: float = 10,
        warmup_lr: float = 1e-6,
        min_lr: float = 1e-5,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_interval: Literal["epoch", "step"] = "epoch",
        compile_student: Literal["default", "reduce-overhead", "max-autotune"] | None = None,
    ) -> None:
        super().__init__(PARTS, ("cosine", "pooled_cosine", "agreement"), ("drift",), ("teacher_drift",))
        self.recipe = resolve(recipe, token_start=token_start, bias_start=bias_start, mse_weight=mse_weight)
        mse_weight = self.recipe.mse_weight
        check_loss_weights(mse=mse_weight, cosine=cosine_weight, consistency=consistency_weight)
        check_minimum(1, model__teacher_batch_tokens=teacher_batch_tokens)
        given = {"lr": lr, "weight_decay": weight_decay, "decay_tokens": decay_tokens}
        given |= {"warmup_epochs": warmup_epochs, "warmup_lr": warmup_lr, "min_lr": min_lr}
        check_recipe(DistillModule, optimizer, lr_scheduler, given)
        if consistency_padding and student.padding != "reference":
            raise ValueError("model.consistency_padding averages padding; it needs a student with padding: reference")
        self.save_hyperparameters(ignore=["student", "optimizer", "lr_scheduler"])
        self.student = student
        self.teacher: TextEncoder | None = None
        self.teacher_path = teacher
        self.teacher_features = teacher_features
        self.features_dir, self.teacher_batch_tokens = features_dir, teacher_batch_tokens
        self.mse_weight, self.cosine_weight, self.consistency_weight = mse_weight, cosine_weight, consistency_weight
        self.lr, self.scale_lr, self.weight_decay, self.decay_tokens = lr, scale_lr, weight_decay, decay_tokens
        self.freeze_tokens, self.consistency_padding = freeze_tokens, consistency_padding
        self.warmup_epochs, self.warmup_lr, self.min_lr = warmup_epochs, warmup_lr, min_lr
        self.optimizer, self.lr_scheduler, self.lr_scheduler_interval = optimizer, lr_scheduler, lr_scheduler_interval
        self._compiled = None if compile_student is None else torch.compile(student.forward, mode=compile_student)
        self.agreement = Agreement()
        self.validated = 0  # held-out prompts of the last validation
        self.teacher_parameters, self.teacher_fingerprint = 0, ""
        self.store: FeatureStore | None = None
        self._teacher: Teacher | None = None

    # Teacher

    @property
    def prompts(self) -> PromptDataModule:
        """The datamodule of the run.

        Raises:
            ValueError: If the run has another kind of data.
        """
        return run_data(self, PromptDataModule)

    def prompt_tokenizer(self) -> HubTokenizer | None:
        """The tokenizer of a teacher that reads other tokens than SAM3's; its weights are not read."""
        return teacher_tokenizer(self.teacher_path)

    def train(self, mode: bool = True) -> "DistillModule":
        """Lets the student learn; the teacher stays as it is."""
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()
        return self

    def setup(self, stage: str) -> None:
        """Checks that data and student fit, and fills or opens the store of teacher features."""
        data = self.prompts
        if data.context_length != self.student.context_length:
            raise ValueError(
                f"data.context_length is {data.context_length}, but the student has {self.student.context_length} "
                "positions; set both to the same number"
            )
        check_weights(self.student, "model.student")
        self.student.reads = data.tokenizer if isinstance(data.tokenizer, HubTokenizer) else None
        self.agreement.compared = data.compared
        callback = best_of(self.trainer)
        if len(data.val) < 3 and callback is not None and callback.monitor == "val/agreement":
            callback.monitor = "val/cosine"
            rank_zero_info(
                f"{len(data.val)} held-out prompts have no choice of nearest neighbours: val/agreement is not defined, "
                "and the best checkpoint goes by val/cosine (data.val_fraction holds out more)"
            )
        # One process says what the teacher is, and often nobody need read it.
        teacher = Teacher(self.teacher_path, Path(self.features_dir) / CACHE)
        facts = self.trainer.strategy.broadcast(teacher.facts() if self.trainer.is_global_zero else None)
        if facts is None:
            raise ValueError(f"model.teacher {self.teacher_path} could not be read on the first process")
        check_teacher(facts, self.teacher_path, self.student, data.context_length)
        self.teacher_parameters, self.teacher_fingerprint = facts.parameters, facts.fingerprint
        if self.freeze_tokens:
            self.student.embedding.token.weight.requires_grad_(False)
        if self.teacher_features == "live":
            self.teacher = self.teacher or teacher.load(facts.fingerprint).to(self.trainer.strategy.root_device)
        elif self.store is None:
            more = absent_tokens(self.student, data)[1] if isinstance(self.student, StaticText) else ()
            most = self.teacher_batch_tokens
            self.store = store_features(teacher, facts, data, self.features_dir, most, self.trainer, more)
        self._teacher = teacher

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Adds the teacher's features to a batch, and the padding that a student of the reference must see."""
        if not isinstance(batch, PromptBatch):
            return batch
        batch = batch.widened(self.student.context_length) if self.student.padding == "reference" else batch
        return batch if self.store is None else batch.with_features(self.store)

    def targets(self, tokens: Any, stored: Tensor | None, valid: Tensor | None) -> Tensor:
        """The teacher's features of tokens, those that are stored or computed now, (B, L, D); `valid` as in a batch."""
        if self.teacher is None:
            if stored is None:
                raise ValueError("the batch has no teacher features; run setup first")
            return stored.float()
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            return self.teacher(*tokens, *known(self.teacher, valid)).float()

    def targets_of(self, batch: PromptBatch) -> Tensor:
        """The teacher's features of a batch's prompts as they are."""
        return self.targets(batch.tokens, batch.features, batch.valid)

    def losses(self, batch: PromptBatch) -> dict[str, Tensor]:
        """The three losses of each prompt, before their weights.

        Args:
            batch: B prompts.

        Returns:
            `mse`, `cosine_distance` and `consistency`, each (B,); consistency is 0 where a prompt has no other order.
        """
        features, permuted = self._both(batch)
        return self._losses(batch, features, permuted, self.targets_of(batch))

    def _losses(self, batch: PromptBatch, features: Tensor, permuted: Tensor, target: Tensor) -> dict[str, Tensor]:
        mask, moved = batch.tokens.mask, features.new_zeros(len(features))
        if len(permuted):
            over = (None, None) if self.consistency_padding else (mask[batch.changed], batch.permuted.mask)
            distance = consistency(pool(features[batch.changed], over[0]), pool(permuted, over[1]))
            moved = moved.index_copy(0, batch.changed, distance)
        return {
            "mse": masked_mse(features, target, mask),
            "cosine_distance": masked_cosine(features, target, mask),
            "consistency": moved,
        }

    def _both(self, batch: PromptBatch) -> tuple[Tensor, Tensor]:
        # One forward for prompts and permutations: half the overhead, and one set of BatchNorm statistics.
        tokens, permuted = batch.tokens, batch.permuted
        ids, lengths = torch.cat([tokens.ids, permuted.ids]), torch.cat([tokens.lengths, permuted.lengths])
        if self._compiled is not None and self.training:
            both = self._compiled(*self._one_shape(ids, lengths, 2 * len(tokens.ids)))[: len(ids), : ids.shape[1]]
        else:
            both = self.student(ids, lengths, *known(self.student, batch.all_valid))
        features, moved = both.float().split([len(tokens.ids), len(permuted.ids)])
        return features, moved

    def _one_shape(self, ids: Tensor, lengths: Tensor, prompts: int) -> tuple[Tensor, Tensor]:
        # Empty prompts count nowhere, but to a student that takes padding for words.
        more = prompts - len(ids) if self.student.padding == "masked" else 0
        return F.pad(ids, (0, self.student.context_length - ids.shape[1], 0, more)), F.pad(lengths, (0, more))

    def total(self, parts: dict[str, Tensor]) -> Tensor:
        """The weighted sum of the losses of each prompt (paper, equation 3), (B,)."""
        return (
            self.mse_weight * parts["mse"]
            + self.cosine_weight * parts["cosine_distance"]
            + self.consistency_weight * parts["consistency"]
        )

    # Held-out prompts

    def validation_step(self, batch: PromptBatch, batch_idx: int) -> None:
        """Adds held-out prompts to the agreement with the teacher."""
        features, permuted = self._both(batch)
        mask, target = batch.tokens.mask, self.targets_of(batch)
        parts = self._losses(batch, features, permuted, target)
        student, teacher = pool(features, mask), pool(target, mask)
        student_moved, teacher_moved = student.clone(), teacher.clone()
        moved = torch.zeros(len(student), dtype=torch.bool, device=student.device)
        if len(permuted):
            target_permuted = self.targets(batch.permuted, batch.permuted_features, batch.permuted_valid)
            student_moved[batch.changed] = pool(permuted, batch.permuted.mask)
            teacher_moved[batch.changed] = pool(target_permuted, batch.permuted.mask)
            moved[batch.changed] = True
        for name, part in {**parts, "loss": self.total(parts)}.items():
            self.val_losses[name].update(part)
        self.agreement.update(
            batch.index, 1 - parts["cosine_distance"], student, teacher, student_moved, teacher_moved, moved
        )

    def on_validation_epoch_end(self) -> None:
        """Logs `val/*`, and now and then the figures."""
        scores = {name: float(value) for name, value in self.agreement.compute().items()}
        scores |= {name: float(value) for name, value in self.val_losses.compute().items()}
        if wrong := [name for name in ("cosine", "pooled_cosine", "mse") if not math.isfinite(scores[name])]:
            raise ValueError(
                f"val/{wrong[0]} is {scores[wrong[0]]} at step {self.trainer.global_step}: the student's features "
                f"are not finite; {kept(self)}"
            )
        shown = ("cosine", "agreement")
        for name, value in scores.items():
            self.log(f"val/{name}", value, prog_bar=name in shown, sync_dist=True)
        undefined = [name for name in ("agreement", "drift", "teacher_drift") if math.isnan(scores[name])]
        self.keep_scores({name: value for name, value in scores.items() if name not in undefined})
        with self.agreement.sync_context():
            seen = self.agreement.gathered()
        self.validated = len(seen.get("index", ()))
        if not self.trainer.sanity_checking:
            distill_report.log_figures(self.trainer, seen)
        self.agreement.reset()
        self.val_losses.reset()

    # Checkpoints

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **options: Any) -> "DistillModule":
        """The module of a checkpoint that `litetext fit` wrote, with the student that the checkpoint describes.

        Args:
            checkpoint_path: The `.ckpt` file.
            args: Lightning's further arguments.
            options: Lightning's, and those of this class in which the module shall differ. Only plain values are
                unpickled, whatever `weights_only` says.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is no checkpoint of a litetext student, or of another one than `student`.
        """
        options.setdefault("student", load_student(str(checkpoint_path), finite=False).train())
        return super().load_from_checkpoint(checkpoint_path, *args, **{**options, "weights_only": True})

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The student's weights; the teacher is named, not stored."""
        whole = super().state_dict(*args, **kwargs)
        return {name: value for name, value in whole.items() if not name.startswith("teacher.")}

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """Loads the student's weights strictly."""
        teacher = {} if self.teacher is None else {f"teacher.{k}": v for k, v in self.teacher.state_dict().items()}
        return super().load_state_dict({**teacher, **state_dict}, strict=strict, assign=assign)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds plain values: what the student is, who taught it, how it scored."""
        checkpoint["litetext"] = taught.describe(self)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses the checkpoint of another student, and in `fit` of another teacher.

        Raises:
            ValueError: Naming each option that differs.
        """
        about = taught.check_resumed(self, checkpoint)
        self.scores, self.scored_step = dict(about.get("scores", {})), about.get("scored_step")

    def on_fit_start(self) -> None:
        """Starts the student as the recipe says, but for a resumed one; says where it can go."""
        if self.trainer.ckpt_path is None and self._teacher is not None:
            start(self, self._teacher)
        rank_zero_info(destinations.describe(self.student.config, self.student.reads is not None))

    def summary(self) -> str:
        """The closing lines of a fit."""
        return distill_report.summary(self)

    def predict_step(self, batch: Any, batch_idx: int) -> None:
        """Nothing: `litetext predict` fills the feature store in `setup`."""

    def on_predict_end(self) -> None:
        """Names the store that was filled."""
        if not self.trainer.is_global_zero:
            return
        if self.store is None:
            print("nothing was stored: model.teacher_features is live; choose stored to encode ahead of training")
        else:
            print(describe_store(self.store))
