"""VideoEvalModule: masklets of phrases in videos, with the teacher's and any number of other text encoders."""

import hashlib
import json
import warnings
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import nn

from litetext.data.images.items import Skip, of_all_ranks
from litetext.data.options import check_minimum, check_share
from litetext.data.videos.ahead import FramesAhead
from litetext.data.videos.datamodule import VideoDataModule, VideoItem
from litetext.data.videos.frames import ReadableFrames, UnreadableFrame
from litetext.metrics.assess import IouType
from litetext.metrics.video import KINDS, assess_video
from litetext.metrics.video_metrics import TETA, PhraseHOTA, VideoCGF1
from litetext.models.devices import DTypeOption
from litetext.models.sam3.image import Sam3Image
from litetext.models.sam3.linking import Linker
from litetext.models.sam3.tracking import (
    DetectAndLink,
    OwnTracker,
    Tracker,
    Tracking,
    Tracks,
    choose_tracking,
    describe,
)
from litetext.models.sam3.video import Sam3Video
from litetext.modules.cache_key import files_hash, item_key
from litetext.modules.evaluation import TEACHER, digest, encode_all, name_encoders
from litetext.modules.evaluation_module import EvaluationModule
from litetext.modules.results import defined, summarize
from litetext.modules.results_files import write_list
from litetext.modules.resume_cache import ResumeCache, describe_reuse, of_ranks
from litetext.modules.run_data import run_data
from litetext.saco.videos import Masklets, masklets


class VideoEvalModule(EvaluationModule):
    """Scores text encoders by the masklets that a frozen SAM3 predicts with them (paper, Table 4), all in one pass.

    Args:
        sam3: The segmenter: a folder of `Sam3VideoModel` with a trained tracker, one of `Sam3Model`, or a hub id
            (`facebook/sam3`).
        text_encoders: Text encoders to score, by a name of your choice: a `.ckpt` of `litetext fit`, or published
            SAM3-LiteText weights. Of names such as mine-seed1 and mine-seed2, mean and spread are printed too.
        teacher: Score SAM3's own text encoder too; retention is measured against it.
        geometry_token: Append the token that Meta's SAM3 adds to every text; transformers alone leaves it out.
        tracker: `sam3` is SAM3's own tracker; `links` detects in every frame and links the masks; `auto` takes SAM3's
            own where the checkpoint has one.
        min_score: With `links`, minimum score of a detection that continues a masklet; one of at least 0.5 begins one.
        match: With `links`, minimum IoU of a detection with a masklet's last mask.
        max_age: With `links`, frames that an object may be out of sight.
        min_hits: With `links`, minimum number of frames in which a masklet is seen.
        chunk: Phrases that go through the detector at once, or whose memories SAM3's own tracker keeps on the device;
            lower it if memory is short.
        dtype: Type of the segmenter's weights and computation; `auto` is bfloat16 on a GPU that computes in it, as
            Meta's SAM3 runs, and float32 elsewhere. Post-processing is in float32.
        fresh: Compute everything anew and clear what an earlier run of the same evaluation stored. Otherwise answers
            are reused where frames, phrases, models, options and code are the same.

    Raises:
        ValueError: If an option is out of its range, or there is nothing to score.
    """

    def __init__(
        self,
        sam3: str = "checkpoints/sam3-tiny",
        text_encoders: dict[str, str] | None = None,
        teacher: bool = True,
        geometry_token: bool = True,
        tracker: Literal["auto", "sam3", "links"] = "auto",
        min_score: float = 0.3,
        match: float = 0.05,
        max_age: int = 6,
        min_hits: int = 3,
        chunk: int = 16,
        dtype: DTypeOption = "auto",
        fresh: bool = False,
    ) -> None:
        super().__init__(name_encoders(sam3, text_encoders, teacher), geometry_token, dtype, fresh)
        if not self.names:
            raise ValueError("model.text_encoders is empty and model.teacher is false; there is nothing to score")
        check_share(model__min_score=min_score, model__match=match)
        check_minimum(0, model__max_age=max_age)
        check_minimum(1, model__min_hits=min_hits, model__chunk=chunk)
        self.save_hyperparameters()
        self.sam3_path = sam3
        self.tracker_name: Literal["auto", "sam3", "links"] = tracker
        self.tracking: Tracking = "links"
        self.links = {"match": match, "max_age": max_age, "min_hits": min_hits}
        self.min_score, self.chunk = min_score, chunk
        self.tracker: Any = None
        self.keys: dict[tuple[str, int], str] = {}
        self.reused = 0
        self.metrics = nn.ModuleDict()
        self.lost: list[Skip] = []

    @property
    def data(self) -> VideoDataModule:
        """The datamodule of the run.

        Raises:
            ValueError: If the run has another kind of data.
        """
        return run_data(self, VideoDataModule)

    def setup(self, stage: str) -> None:
        """Loads the segmenter, and encodes every phrase with every text encoder."""
        data, device = self.data, self.trainer.strategy.root_device
        options = {"tracker": self.tracker_name, "min_score": self.min_score, "links": self.links}
        identity = self.begin("a split", data.names, options)
        tracker: Any = self.load_tracker()
        digest(identity, tracker, tracker.about)
        asked = list(dict.fromkeys(phrase for item in data.videos for phrase in item.phrases))
        self.phrases, self.text_parameters = encode_all(self.names, asked, tracker.sam3.check_width, device, identity)
        self.tracker = tracker.to(device)
        self.keys, self.reused, self.lost = {}, 0, []  # a module may be tested again, on other data
        self.metrics = nn.ModuleDict()
        for name in self.names:
            for split in data.names:
                for kind in KINDS:
                    parts: list[nn.Module] = [VideoCGF1(), PhraseHOTA()]
                    parts += [TETA(data.evaluated[split])] if kind == "segm" else []
                    self.metrics[_place(name, split, kind)] = nn.ModuleList(parts)
        self.cache = self.open_cache(identity)

    def load_tracker(self) -> Tracker:
        """The tracker that the options name, with the segmenter in it.

        Raises:
            FileNotFoundError: There is no such SAM3.
            ValueError: It cannot be read, or has no tracker of its own where one is asked for.
        """
        self.tracking = choose_tracking(self.sam3_path, self.tracker_name, ("model.tracker", "model.sam3"))
        if self.tracking == "sam3":
            video = Sam3Video.from_pretrained(self.sam3_path, self.geometry_token, self.dtype_name)
            return OwnTracker(video, self.chunk)
        sam3 = Sam3Image.from_pretrained(self.sam3_path, self.geometry_token, self.dtype_name)
        return DetectAndLink(sam3, self.min_score, self.chunk, lambda: Linker(**self.links))  # type: ignore[arg-type]

    def test_step(self, batch: VideoItem | None, batch_idx: int) -> None:
        """Finds the masklets of one video with every text encoder, and compares them with the true ones."""
        if batch is None:  # more processes than videos
            return
        key = video_key(batch)
        found: Any = self.cache.find(key)
        if found is None:
            features = {name: phrases.take(batch.phrases) for name, phrases in self.phrases.items()}
            try:
                found = self.tracker.track(FramesAhead(ReadableFrames(batch.frames)), features)
            except UnreadableFrame as error:
                skip = Skip(batch.split, str(batch.frames.video.id), tuple(batch.categories), str(error))
                warnings.warn(f"left out: {skip}", stacklevel=2)  # on whichever process it is
                self.lost.append(skip)
                return
            self.cache.add(key, found)
        else:
            self.reused += 1
        self.keys[batch.split, batch.number] = key
        for name in self.names:
            predicted = masklets(_entries(batch, found[name]), batch.frames.video, f"text encoder {name}: masklet")
            for kind in KINDS:
                classes = self.data.evaluated[batch.split]
                rows = assess_video(batch.truth, predicted, batch.categories, classes, kind)
                metrics: Any = self.metrics[_place(name, batch.split, kind)]
                metrics[0].update([[batch.number, c] for c in batch.categories], rows.phrases)
                if rows.hota:
                    metrics[1].update([[batch.number, c] for c in rows.hota], np.stack(list(rows.hota.values())))
                if kind == "segm":
                    metrics[2].update(batch.number, rows.teta)

    def on_test_epoch_end(self) -> None:
        """Writes results.json and the predictions, and shows the table.

        Raises:
            ValueError: Nothing was scored.
        """
        data = self.data
        self.ranks.wait("recorded")  # hours, maybe: no collective waits so long
        skips = of_all_ranks([*data.skips, *self.lost])
        keys, reused = dict[tuple[str, int], str](), 0
        for own, count in of_ranks((self.keys, self.reused)):
            keys, reused = keys | own, reused + count
        scored = [item for item in data.videos if (item.split, item.number) in keys]
        sides = {split: _sides([item for item in scored if item.split == split]) for split in data.names}
        scores: dict[IouType, dict[str, dict[str, dict[str, float | None]]]] = {"segm": {}, "bbox": {}}
        numbers: dict[str, dict[str, dict[str, Any]]] = {}
        for name in self.names:
            for split in data.names:
                for kind in KINDS:
                    found = self._numbers(name, split, kind)
                    numbers.setdefault(name, {}).setdefault(split, {}).update(found)
                    row = defined(_headline(found, kind), *sides[split], ("CG_F1", "VL_MCC"))
                    scores[kind].setdefault(name, {})[split] = row
        self.results = summarize(scores["segm"], self.text_parameters, TEACHER, scores["bbox"])
        lost = {(skip.subset, skip.file_name) for skip in skips if skip not in data.skips}
        unasked = any(
            (v.split, v.number) not in keys and (v.split, str(v.frames.video.id)) not in lost for v in data.videos
        )
        asked = f"{len(data.videos):,} videos"
        linked = ["detections linked from frame to frame, not SAM3's own tracker (model.tracker)"]
        unofficial = linked if self.tracking == "links" else []
        self.complete(sides, numbers, skips, asked, data.limited or unasked, self.dtype_name, unofficial)
        evaluation = hashlib.blake2b(f"{self.identity} {self.results['left_out']}".encode(), digest_size=16)
        for item in scored:
            evaluation.update(f"{item.split} {item.number} {keys[item.split, item.number]}\n".encode())
            evaluation.update(_truth_bytes(item.truth))
        self.results["evaluation"] = evaluation.hexdigest()
        if self.trainer.is_global_zero:
            self._write(scored, keys, reused)
        self.ranks.part("written")

    def _numbers(self, name: str, split: str, kind: IouType) -> dict[str, float]:
        prefix = f"video_{KINDS[kind]}_"
        numbers: dict[str, float] = {}
        metrics: Any = self.metrics[_place(name, split, kind)]
        for metric, part in zip(metrics, ("demo_", "all_phrase_", ""), strict=False):
            with metric.sync_context():
                numbers |= {f"{prefix}{part}{key}": value for key, value in type(metric).compute(metric).items()}
        return numbers

    def _write(self, scored: list[VideoItem], keys: dict[tuple[str, int], str], reused: int) -> None:
        cache = ResumeCache(self.cache.folder, 0)  # of all processes

        def tracks(split: str, name: str) -> Iterator[dict[str, Any]]:
            for item in scored:
                if item.split == split:
                    yield from _entries(item, cache.find(keys[item.split, item.number])[name])

        def fill(draft: Path) -> None:
            for split in self.data.names:
                for name in self.names:
                    write_list(draft / "predictions" / name / f"{split}.json", tracks(split, name))

        segmenter = [
            f"tracker     {describe(self.tracking, self.sam3_path, self.tracker_name)}",
            f"segmenter   {self.dtype_name} on {self.tracker.sam3.device.type}",
        ]
        self.publish(fill, segmenter, describe_reuse(reused, len(keys), "videos", self.cache))


def video_key(item: VideoItem) -> str:
    """The key of a video's predictions: its frames' files, how they are read, and the queries in order.

    Args:
        item: The video and its phrases.
    """
    frames = item.frames
    # Whatever decides how frames are read stands in the two dataclasses; where they lie does not count.
    read = {key: value for key, value in vars(frames).items() if key not in ("paths", "file")}
    about = json.dumps(read, default=lambda part: vars(part) if is_dataclass(part) else str(part), sort_keys=True)
    files = frames.paths if frames.file is None else (frames.file,)
    asked = list(zip(item.categories, item.phrases, strict=True))
    return item_key((item.split, str(frames.video.id)), asked, files_hash(files, about))


def _sides(items: list[VideoItem]) -> tuple[int, int]:
    """Scored pairs with true masklets, and those without."""
    positives = asked = 0
    for item in items:
        there = set(item.truth.categories[~item.truth.crowd].tolist())
        positives, asked = positives + len(there & set(item.categories)), asked + len(item.categories)
    return positives, asked - positives


def _truth_bytes(truth: Masklets) -> bytes:
    """Ground truth as bytes, for hashing."""
    parts = [
        value.tobytes() if isinstance(value, np.ndarray) else json.dumps(value, default=str).encode()
        for value in vars(truth).values()
    ]
    return b"".join(f"{len(part)} ".encode() + part for part in parts)


def _place(name: str, split: str, kind: IouType) -> str:
    return json.dumps([name, split, kind]).replace(".", "\u2024")  # a module's name holds no dot


def _entries(item: VideoItem, found: list[Tracks]) -> list[dict[str, Any]]:
    """Masklets of all phrases as entries of the official layout."""
    return [
        {"video_id": item.frames.video.id, "category_id": category, **entry}
        for category, tracks in zip(item.categories, found, strict=True)
        for entry in tracks
    ]


def _headline(numbers: dict[str, float], kind: IouType) -> dict[str, float]:
    """The columns of the paper's Table 4: VL_MCC in [-1, 1], the others in percent; no TETA of boxes."""
    prefix = f"video_{KINDS[kind]}_"
    row = {
        "CG_F1": 100 * numbers[f"{prefix}demo_cgf1_micro_50_95"],
        "VL_MCC": numbers[f"{prefix}demo_ilmcc_50_95"],
        "pmF1": 100 * numbers[f"{prefix}demo_positive_micro_f1_50_95"],
        "pHOTA": 100 * numbers[f"{prefix}all_phrase_HOTA"],
        "pDetA": 100 * numbers[f"{prefix}all_phrase_DetA"],
        "pAssA": 100 * numbers[f"{prefix}all_phrase_AssA"],
    }
    return row | ({"TETA": numbers[f"{prefix}teta"]} if kind == "segm" else {})
