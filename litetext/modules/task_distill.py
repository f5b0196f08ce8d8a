"""TaskDistillModule: trains a distilled student on, through a frozen SAM3's detector."""

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor

from litetext.checkpoints.lightning import read_checkpoint
from litetext.data.features.store import FeatureStore
from litetext.data.images.task import TaskBatch, TaskDataModule
from litetext.data.options import check_minimum
from litetext.losses import masked_cosine, masked_mse
from litetext.metrics.cgf1 import PhraseCounts
from litetext.metrics.counts import headline
from litetext.models.sam3.detector_outputs import DetectorOutputs, decode_masks, run_detector, vision_per_phrase
from litetext.models.sam3.image import Sam3Image
from litetext.models.sam3.postprocess import finish, official_scores
from litetext.models.text.encoder import digest, require_sam3_tokens
from litetext.models.text.students import load_student
from litetext.modules import distill_report, taught
from litetext.modules.distill_optim import check_loss_weights, check_recipe
from litetext.modules.run_data import run_data
from litetext.modules.stored_features import store_features
from litetext.modules.stored_vision import VisionStore, encode_images, identify
from litetext.modules.student_training import StudentTraining
from litetext.modules.task_loss import DETECTOR_PARTS, detector_losses
from litetext.modules.teacher import CACHE, Teacher, load_teacher
from litetext.saco.instances import Instances, Truth
from litetext.shipped import shipped
from litetext.tokenizer import TokenBatch, Tokenizer, pad
from litetext.tokenizer.token_rows import TokenRows

PARTS = (*DETECTOR_PARTS, "mse", "cosine_distance")
SCORES = ("CG_F1", "IL_MCC", "pmF1")
_MIN_SCORE = 0.5  # from this score on an instance counts


class TaskDistillModule(StudentTraining):
    """Trains a distilled student through a frozen SAM3, towards its outputs for its own text encoder.

    The loss of a phrase about an image, see `litetext.modules.task_loss` for its parts:
    L = w_text A + w_presence P + w_scores S + w_boxes B + w_masks M + w_mse MSE + w_cosine cosine.
    The student is validated against the SAM3's own predictions on held-out images: `val/CG_F1` takes those for the
    truth.

    Args:
        start: Checkpoint of `litetext fit` whose student is trained on.
        sam3: The SAM3 whose text encoder taught it: a folder of transformers, a hub id, or Meta's `sam3.pt`.
        features_dir: Folder of the stores of teacher features, as that of `DistillModule`.
        teacher_batch_tokens: Tokens the teacher encodes at once.
        vision: `stored` encodes every image once and keeps its vision features on disk, in half precision; `live`
            runs the vision tower in every step.
        vision_dir: Folder of the vision features.
        geometry_token: Append the geometry token to every phrase, as Meta's SAM3 does.
        text_weight: Weight of the detector's attention to the text (A).
        presence_weight: Weight of presence (P).
        scores_weight: Weight of the queries' classes (S).
        boxes_weight: Weight of the boxes (B).
        masks_weight: Weight of the masks (M); 0 decodes none, which saves a third of a step.
        masks_drawn: Phrases a step whose masks are decoded, those of the teacher's highest scores.
        mse_weight: Weight of the MSE of the features, as in `DistillModule`. Phrases that the student's context cuts
            and the teacher's does not have no part in it.
        cosine_weight: Weight of the cosine loss of the features, likewise.
        lr: Learning rate after the warm-up; it is not scaled.
        weight_decay: Decay of matrices but the token table.
        warmup_epochs: Epochs of linear warm-up.
        warmup_lr: Learning rate at the first step.
        min_lr: Learning rate at the last step.
        optimizer: Another optimizer than AdamW, as in `DistillModule`.
        lr_scheduler: Another schedule, as in `DistillModule`.
        lr_scheduler_interval: Whether that schedule steps once an `epoch` or once a `step`.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If it holds no student that a SAM3 reads, or an option is out of its range.
    """

    def __init__(
        self,
        start: str,
        sam3: str = "facebook/sam3",
        features_dir: str = "checkpoints/features",
        teacher_batch_tokens: int = 2048,
        vision: Literal["stored", "live"] = "stored",
        vision_dir: str = "checkpoints/vision",
        geometry_token: bool = True,
        text_weight: float = 1.0,
        presence_weight: float = 1.0,
        scores_weight: float = 1.0,
        boxes_weight: float = 1.0,
        masks_weight: float = 1.0,
        masks_drawn: int = 8,
        mse_weight: float = 0.2,
        cosine_weight: float = 1.0,
        lr: float = 4e-4,
        weight_decay: float = 0.0,
        warmup_epochs: float = 0.1,
        warmup_lr: float = 1e-6,
        min_lr: float = 1e-6,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_interval: Literal["epoch", "step"] = "epoch",
    ) -> None:
        super().__init__(PARTS, SCORES)
        weights = dict(
            zip(PARTS, (text_weight, presence_weight, scores_weight, boxes_weight, masks_weight), strict=False)
        )
        check_loss_weights(**weights, mse=mse_weight, cosine=cosine_weight)
        self.weights = {**weights, "mse": mse_weight, "cosine_distance": cosine_weight}
        if not any(self.weights.values()):
            raise ValueError("all weights of the task loss are 0: nothing would be learnt; give one a positive weight")
        check_minimum(1, model__teacher_batch_tokens=teacher_batch_tokens, model__masks_drawn=masks_drawn)
        given = {"lr": lr, "weight_decay": weight_decay, "warmup_epochs": warmup_epochs}
        given |= {"warmup_lr": warmup_lr, "min_lr": min_lr}
        check_recipe(TaskDistillModule, optimizer, lr_scheduler, given)
        self.save_hyperparameters(ignore=["optimizer", "lr_scheduler"])
        begin = shipped(start)
        self.student = load_student(begin).train().requires_grad_(True)
        self._taught_by = str(read_checkpoint(begin)["litetext"].get("teacher_fingerprint", ""))
        require_sam3_tokens(self.student.reads, f"model.start {start}")
        self.teacher_path, self.features_dir, self.teacher_batch_tokens = sam3, features_dir, teacher_batch_tokens
        self.vision, self.vision_dir, self.geometry_token = vision, vision_dir, geometry_token
        self.masks_drawn = masks_drawn if masks_weight else 0
        self.lr, self.weight_decay, self.scale_lr, self.decay_tokens = lr, weight_decay, False, False
        self.warmup_epochs, self.warmup_lr, self.min_lr = warmup_epochs, warmup_lr, min_lr
        self.optimizer, self.lr_scheduler, self.lr_scheduler_interval = optimizer, lr_scheduler, lr_scheduler_interval
        self.counts = PhraseCounts("segm")
        self.teacher_parameters, self.teacher_fingerprint, self.detector = 0, "", ""
        self.store: FeatureStore | None = None
        self.vision_store: VisionStore | None = None
        self._sam3: list[Sam3Image] = []  # in a list, so that it is no part of the module's weights
        self._rows = TokenRows.of([]), TokenRows.of([])

    @property
    def prompts(self) -> TaskDataModule:
        """The datamodule of the run.

        Raises:
            ValueError: If the run has another kind of data.
        """
        return run_data(self, TaskDataModule)

    @property
    def sam3(self) -> Sam3Image:
        """The frozen SAM3, after `setup`."""
        return self._sam3[0]

    @property
    def read_from(self) -> list[Any]:
        """The options that say which weights decide a fit."""
        return [self.hparams["start"], self.teacher_path, self.geometry_token]

    def learns_from(self) -> dict[str, str]:
        """Hashes of the weights that decide a fit, read for it: `start`, the student's, and `SAM3`."""
        start = blake2b(digest_size=16)
        digest(start, self.student, "")
        detector = identify(Sam3Image.from_pretrained(self.teacher_path, self.geometry_token))
        return {"start": start.hexdigest(), "SAM3": f"{load_teacher(self.teacher_path).fingerprint}-{detector}"}

    def setup(self, stage: str) -> None:
        """Loads the SAM3, and fills or opens the stores of text and vision features. Once."""
        data, device = self.prompts, self.trainer.strategy.root_device
        if self._sam3:
            return
        teacher = Teacher(self.teacher_path, Path(self.features_dir) / CACHE)
        facts = self.trainer.strategy.broadcast(teacher.facts() if self.trainer.is_global_zero else None)
        if facts is None:
            raise ValueError(f"model.sam3 {self.teacher_path} could not be read on the first process")
        student, start = self.student, self.hparams["start"]
        if facts.width != student.width or facts.context_length < student.context_length:
            raise ValueError(
                f"the student of model.start {start} has features of {student.width} values and "
                f"{student.context_length} positions, the text encoder of model.sam3 {self.teacher_path} {facts.width} "
                f"and {facts.context_length}; name the SAM3 that taught it"
            )
        self.teacher_parameters, self.teacher_fingerprint = facts.parameters, facts.fingerprint
        if self._taught_by not in ("", facts.fingerprint):
            rank_zero_warn(
                f"the student of model.start {start} was taught by another text encoder than that of "
                f"model.sam3 {self.teacher_path}: it begins far from what it shall learn"
            )
        sam3 = Sam3Image.from_pretrained(self.teacher_path, self.geometry_token).to(device)
        sam3.check_width(student.width, f"model.start {start}")
        self.detector = identify(sam3)
        own, whole = Tokenizer(student.context_length), Tokenizer(facts.context_length)
        self._rows = own.rows(data.prompts), whole.rows(data.prompts)
        rank_zero_info(
            f"{own.truncated:,} of {len(data.prompts):,} phrases cut at {own.context_length} tokens for the student, "
            f"{whole.truncated:,} at {whole.context_length} for the teacher"
        )
        texts = _PaddedTexts(data.prompts, self._rows[1])
        self.store = store_features(teacher, facts, texts, self.features_dir, self.teacher_batch_tokens, self.trainer)
        if self.vision == "stored":
            self.vision_store = VisionStore(self.vision_dir, sam3, self.detector, data.images)
            self.vision_store.fill(self.trainer)
        self._sam3.append(sam3)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Adds the phrases' tokens and the teacher's features of them."""
        if not isinstance(batch, TaskBatch) or self.store is None:
            return batch
        numbers = batch.index.tolist()
        tokens = pad(self._rows[0].take(numbers))
        if self.student.padding == "reference":
            more = self.student.context_length - tokens.ids.shape[1]
            tokens = TokenBatch(torch.nn.functional.pad(tokens.ids, (0, more)), tokens.lengths)
        lengths = torch.from_numpy(self._rows[1].take(numbers).lengths)
        return batch._replace(tokens=tokens, teacher_features=self.store.padded(batch.index), teacher_lengths=lengths)

    # Losses

    def losses(self, batch: TaskBatch) -> dict[str, Tensor]:
        """The parts of the loss of each phrase, before their weights, (N,) each."""
        return self._compare(batch, self.masks_drawn)[0]

    def _compare(
        self, batch: TaskBatch, most: int
    ) -> tuple[dict[str, Tensor], DetectorOutputs, DetectorOutputs, Tensor]:
        """Losses, outputs for student and teacher, and the phrases whose masks were decoded, at most `most`."""
        targets, tokens, lengths = self.targets_of(batch), batch.tokens, batch.teacher_lengths
        if tokens is None or lengths is None:
            raise ValueError("the batch has no token rows; run setup first")
        with torch.no_grad():
            numbers = batch.images.tolist()
            if self.vision_store is not None:
                vision = self.vision_store.take(numbers)
            else:
                vision = encode_images(self.sam3, [self.prompts.images[n] for n in numbers])
            each = vision_per_phrase(vision, batch.owner)
            states = run_detector(self.sam3, each, targets, lengths)
            scores = _official(states.outputs).amax(1)
            decoded = scores.argsort(descending=True, stable=True)[: min(most, int((scores >= _MIN_SCORE).sum()))]
            teacher = decode_masks(self.sam3, states, decoded)
        features = self.student(*tokens).float()
        student = decode_masks(self.sam3, run_detector(self.sam3, each, features, tokens.lengths), decoded)
        parts = detector_losses(student, teacher, decoded)
        shared = min(features.shape[1], targets.shape[1])
        mask = tokens.mask[:, :shared] & (tokens.lengths == lengths)[:, None]
        pair = features[:, :shared], targets[:, :shared]
        parts |= {"mse": masked_mse(*pair, mask), "cosine_distance": masked_cosine(*pair, mask)}
        return parts, student, teacher, decoded

    def total(self, parts: dict[str, Tensor]) -> Tensor:
        """The weighted sum of the parts, (N,)."""
        return torch.stack([weight * parts[name] for name, weight in self.weights.items()]).sum(0)

    def targets_of(self, batch: TaskBatch) -> Tensor:
        """The teacher's features of a batch's phrases, (N, M, D).

        Raises:
            ValueError: If `setup` has not run.
        """
        if batch.teacher_features is None:
            raise ValueError("the batch has no teacher features; run setup first")
        return batch.teacher_features.float()

    # Held-out images

    def validation_step(self, batch: TaskBatch, batch_idx: int) -> None:
        """Compares the outputs for the student with those for the teacher, all masks decoded."""
        parts, student, teacher, decoded = self._compare(batch, len(batch.index))
        for name, part in {**parts, "loss": self.total(parts)}.items():
            self.val_losses[name].update(part)
        predictions, truth = _instances(student, decoded), _instances(teacher, decoded)
        self.counts.update(batch.number, predictions, [Truth(one.masks) for one in truth])

    def on_validation_epoch_end(self) -> None:
        """Logs `val/*`."""
        with self.counts.sync_context():
            scores = {name: float(value) for name, value in headline(self.counts.counts()).items()}
        scores |= {name: float(value) for name, value in self.val_losses.compute().items()}
        for name, value in scores.items():
            self.log(f"val/{name}", value, prog_bar=name in ("CG_F1", "loss"), sync_dist=True)
        self.keep_scores(scores)
        self.counts.reset()
        self.val_losses.reset()

    # Checkpoints

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **options: Any) -> "TaskDistillModule":
        """The module of a checkpoint that `litetext fit` wrote; the checkpoint itself brings the student."""
        options = {"start": str(checkpoint_path), **options, "weights_only": True}
        return super().load_from_checkpoint(checkpoint_path, *args, **options)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds plain values: what the student is, who taught it, how it scored."""
        checkpoint["litetext"] = {**taught.describe(self), "detector": self.detector, "start": self.hparams["start"]}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses the checkpoint of another student, and in `fit` of another teacher or detector.

        Raises:
            ValueError: Naming what differs.
        """
        about = taught.check_resumed(self, checkpoint)
        if self.detector and about.get("detector", self.detector) != self.detector:
            raise ValueError(
                f"the checkpoint learnt through another detector than model.sam3 {self.teacher_path}; name the same "
                "one, or begin anew with model.start"
            )
        self.scores, self.scored_step = dict(about.get("scores", {})), about.get("scored_step")

    def summary(self) -> str:
        """The closing lines of a fit."""
        return distill_report.summary(self, _scores_line)


class _PaddedTexts:
    """Phrases and their token rows as the store of features asks for them."""

    def __init__(self, phrases: Sequence[str], rows: TokenRows) -> None:
        self.phrases, self.rows = phrases, rows

    def feature_rows(self) -> TokenRows:
        return self.rows

    def feature_prompt(self, row: int) -> str:
        return self.phrases[row]


def _official(outputs: DetectorOutputs) -> Tensor:
    """The scores that are cut at a half, (N, Q)."""
    return official_scores(outputs.logits[-1], outputs.presence[-1])


def _instances(outputs: DetectorOutputs, decoded: Tensor) -> list[Instances]:
    """Predicted instances of each phrase, at the size of the masks; empty masks where none were decoded."""
    scores, boxes = _official(outputs), outputs.boxes[-1]
    height, width = outputs.masks.shape[-2:]
    line = {phrase: k for k, phrase in enumerate(decoded.tolist())}
    found = []
    for n, kept in enumerate(scores >= _MIN_SCORE):
        none = scores.new_full((int(kept.sum()), height, width), -1.0, dtype=torch.float32)
        masks = outputs.masks[line[n], kept] if n in line else none
        one = finish(scores[n, kept], boxes[n, kept], masks, (height, width))
        found.append(Instances(one.scores.cpu(), one.boxes.cpu(), one.masks.cpu()))
    return found


def _scores_line(module: Any, scores: dict[str, float]) -> str:
    """Scores on held-out images, in a line."""
    return (
        f"held-out images     CG_F1 {scores['CG_F1']:.2f}, IL_MCC {scores['IL_MCC']:.3f}, pmF1 {scores['pmF1']:.2f} "
        f"against the teacher's own predictions; loss {scores['loss']:.4f}"
    )
