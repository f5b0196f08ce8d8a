"""SegEvalModule: a frozen SAM3 that hears phrases through the teacher's and any number of other text encoders."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info
from torch import nn

from litetext.data.seg_datamodule import SegBatch, SegDataModule
from litetext.data.seg_items import SegItem
from litetext.metrics.cgf1 import Detections, GroundTruth, PhraseCounts, headline, official
from litetext.metrics.matching import to_rle
from litetext.models.phrases import PhraseFeatures, encode_phrases
from litetext.models.sam3_image import Sam3Image
from litetext.models.text_encoders import load_text_encoder
from litetext.modules import seg_pictures
from litetext.modules.seg_records import Instances, Record, Records, coco_results
from litetext.modules.seg_results import summarize, table
from litetext.tokenizer import Tokenizer

TEACHER = "teacher"


class SegEvalModule(LightningModule):
    """Scores text encoders by what a frozen SAM3 segments with them (paper, Table 3), all in one pass.

    Vision features are computed once an image, text features once a distinct phrase and encoder.

    Args:
        sam3: The segmenter in transformers' layout: a folder, `checkpoints/sam3-tiny`, or a hub id (`facebook/sam3`).
        text_encoders: Text encoders to score, by a name of your choice: a `.ckpt` of `litetext fit`, or published
            SAM3-LiteText weights.
        teacher: Score SAM3's own text encoder too; retention is measured against it.
        geometry_token: Append the token that Meta's SAM3 adds to every text; transformers alone leaves it out.
        threshold: Least score of an instance.
        chunk: Phrases that go through the detector at once; lower it if memory is short. Results do not depend on it.
        pictures: Pictures a subset, the worst disagreements between the text encoders first; 0 for none.
        dtype: Type of the segmenter's weights and computation.

    Raises:
        ValueError: If an option is out of its range, or there is nothing to score.
    """

    def __init__(
        self,
        sam3: str = "checkpoints/sam3-tiny",
        text_encoders: dict[str, str] | None = None,
        teacher: bool = True,
        geometry_token: bool = True,
        threshold: float = 0.5,
        chunk: int = 16,
        pictures: int = 4,
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    ) -> None:
        super().__init__()
        self.names = {**({TEACHER: sam3} if teacher else {}), **(text_encoders or {})}
        if not self.names:
            raise ValueError("model.text_encoders is empty and model.teacher is false; there is nothing to score")
        if teacher and TEACHER in (text_encoders or {}):
            raise ValueError(
                f"model.text_encoders.{TEACHER} is SAM3's own; choose another name, or model.teacher false"
            )
        if not 0 <= threshold < 1:
            raise ValueError(f"model.threshold is {threshold}; choose a score from 0 to below 1")
        if chunk < 1:
            raise ValueError(f"model.chunk is {chunk}; it must be at least 1")
        if pictures < 0:
            raise ValueError(f"model.pictures is {pictures}; it must be 0 or more")
        self.save_hyperparameters()
        self.sam3_path, self.geometry_token = sam3, geometry_token
        self.dtype_name: Literal["float32", "bfloat16", "float16"] = dtype
        self.threshold, self.chunk, self.pictures = threshold, chunk, pictures
        self.sam3: Sam3Image | None = None
        self.counts = nn.ModuleList()
        self.place: dict[tuple[str, str], int] = {}
        self.phrases: dict[str, PhraseFeatures] = {}
        self.text_parameters: dict[str, int] = {}
        self.results: dict[str, Any] = {}

    @property
    def data(self) -> SegDataModule:
        """The datamodule of the run.

        Raises:
            ValueError: If the run has another kind of data.
        """
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, SegDataModule):
            raise ValueError(f"SegEvalModule reads a SegDataModule; data.class_path names {type(data).__name__}")
        return data

    def setup(self, stage: str) -> None:
        """Loads the segmenter, and encodes every phrase with every text encoder."""
        data = self.data
        asked = list(dict.fromkeys(pair.phrase for image in data.images for pair in image.pairs))
        self.sam3 = Sam3Image.from_pretrained(self.sam3_path, self.geometry_token, self.dtype_name)
        identity = hashlib.blake2b(json.dumps([self.geometry_token, self.threshold, self.dtype_name]).encode())
        _digest(identity, self.sam3, self.sam3.model.config.to_json_string())
        for name, path in self.names.items():
            encoder = load_text_encoder(path)
            self.sam3.check_width(encoder.width, f"text encoder {name} ({path})")
            self.text_parameters[name] = sum(p.numel() for p in encoder.parameters())
            tokenizer = Tokenizer(encoder.context_length)
            encoder.to(self.trainer.strategy.root_device)
            self.phrases[name] = encode_phrases(encoder, tokenizer, asked)
            # Padding mode and heads are in no weight.
            _digest(identity, encoder, f"{name} {json.dumps(encoder.config, sort_keys=True, default=str)}")
            rank_zero_info(
                f"text encoder {name}: {path}, {self.text_parameters[name]:,} parameters; "
                f"{tokenizer.truncated:,} of {len(asked):,} phrases cut at {encoder.context_length} tokens"
            )
        self.sam3.to(self.trainer.strategy.root_device)
        self.place = {key: i for i, key in enumerate((name, subset) for name in self.names for subset in data.names)}
        self.counts = nn.ModuleList(PhraseCounts() for _ in self.place)
        folder = self._folder() / "records" / identity.hexdigest()[:16]
        self.records = Records(folder, self.trainer.global_rank)
        done = sum(self.records.find(image, self.names) is not None for image in data.images)
        if done:
            rank_zero_info(f"{done:,} of {len(data.images):,} images were done before: {folder}")

    def _folder(self) -> Path:
        return Path(getattr(self.trainer.logger, "log_dir", None) or self.trainer.default_root_dir)

    def test_step(self, batch: SegBatch, batch_idx: int) -> None:
        """Segments the images of a batch with every text encoder, and counts."""
        for item in batch.items:
            record = self.records.find(item, self.names)
            if record is None:
                record = self.segment(item)
                self.records.add(item, record)
            truths = [[GroundTruth(t.masks, t.boxes, t.crowd) for t in pair.truths] for pair in item.pairs]
            for name, found in record.items():
                metric: Any = self.counts[self.place[name, item.subset]]
                ids = [pair.id for pair in item.pairs]
                metric.update(ids, [Detections(found[i].scores, found[i].masks, found[i].boxes) for i in ids], truths)

    def segment(self, item: SegItem) -> Record:
        """What every text encoder leads to in one image.

        Args:
            item: The image and its phrases.
        """
        if self.sam3 is None:
            raise ValueError("no segmenter is loaded; run setup first")
        pixels = self.sam3.preprocess([item.image]).to(self.sam3.device)
        vision = self.sam3.encode_images(pixels)
        size = (int(item.image.shape[1]), int(item.image.shape[2]))
        record: Record = {}
        for name in self.names:
            features, lengths = self.phrases[name].take([pair.phrase for pair in item.pairs])
            parts = self.sam3.segment(
                vision, features.to(self.sam3.device), lengths.to(self.sam3.device), size, self.threshold, self.chunk
            )
            record[name] = {
                pair.id: Instances(part.scores.tolist(), part.boxes.tolist(), [_text(m) for m in to_rle(part.masks)])
                for pair, part in zip(item.pairs, parts, strict=True)
            }
        return record

    def on_test_epoch_end(self) -> None:
        """Writes results.json and the predictions, and shows the table."""
        data, scores, numbers = self.data, {}, {}
        for name in self.names:
            for subset in data.names:
                metric: Any = self.counts[self.place[name, subset]]
                with metric.sync_context():
                    counts = metric.counts()
                scores.setdefault(name, {})[subset] = headline(counts)
                numbers.setdefault(name, {})[subset] = official(counts)
        skips = data.all_skips()
        self.results = summarize(scores, self.text_parameters, TEACHER)
        self.results |= {
            "partial": data.partial or bool(skips),
            "left_out": sum(len(skip.ids) for skip in skips),
            "official": numbers,
        }
        self.trainer.strategy.barrier()  # all records are written
        if self.trainer.is_global_zero:
            self._write()

    def _write(self) -> None:
        folder = self._folder()
        folder.mkdir(parents=True, exist_ok=True)
        records = Records(self.records.folder, 0)  # of all processes
        logger, names = self.trainer.logger, list(self.names)
        board = logger.experiment if isinstance(logger, TensorBoardLogger) else None
        for subset in self.data.names:
            images = [image for image in self.data.images if image.subset == subset]
            for name in names:
                _replace(folder / "predictions" / name / f"{subset}.json", list(coco_results(images, records, name)))
            cases = seg_pictures.worst(images, records, names, self.pictures)
            if cases:
                seg_pictures.save(cases, names, folder / "pictures" / subset, board)
        _replace(folder / "results.json", self.results)
        if board is not None:
            board.add_text("results", table(self.results, markdown=True), 0)
            for name, entry in self.results["encoders"].items():
                for column, value in entry["average"].items():
                    if value is not None:
                        board.add_scalar(f"{name}/{column}", value, 0)
        print(table(self.results))
        if self.results["partial"]:
            print(f"partial: {self.results['left_out']:,} pairs were left out")
        print(f"results     {folder / 'results.json'}\npredictions {folder / 'predictions'}")
        if self.pictures:
            print(f"pictures    {folder / 'pictures'}")


def _digest(identity: Any, module: nn.Module, about: str) -> None:
    identity.update(about.encode())
    for key, tensor in sorted(module.state_dict().items()):
        identity.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
        identity.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())


def _text(mask: dict[str, Any]) -> dict[str, Any]:
    counts = mask["counts"]
    return {"size": list(mask["size"]), "counts": counts if isinstance(counts, str) else counts.decode("ascii")}


def _replace(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(content, indent=None if isinstance(content, list) else 1) + "\n", encoding="utf-8")
    os.replace(draft, path)
