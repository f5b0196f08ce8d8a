"""VideoEvalModule: masklets of phrases in videos, with the teacher's and any number of other text encoders."""

import hashlib
import json
from collections.abc import Callable
from typing import Any, Literal, Protocol

import numpy as np
from lightning.pytorch import LightningModule
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import nn

from litetext.data.images.items import Skip, of_all_ranks
from litetext.data.videos.datamodule import VideoDataModule, VideoItem
from litetext.metrics.assess import IouType
from litetext.metrics.hota import PhraseHOTA
from litetext.metrics.teta import TETA
from litetext.metrics.veval_files import KINDS
from litetext.metrics.video import VideoCGF1, assess_video
from litetext.models.sam3.image import Sam3Image
from litetext.models.sam3.video import Sam3Video, has_tracker
from litetext.models.text.encoder import PhraseFeatures
from litetext.modules.evaluation import TEACHER, digest, hear, name_encoders
from litetext.modules.journal import Journal
from litetext.modules.linking import Linker, Tracks
from litetext.modules.results import summarize, table
from litetext.modules.results_files import replace_json, run_folder
from litetext.modules.run_data import run_data
from litetext.saco.videos import masklets

VideoTracks = dict[str, list[Tracks]]
"""What was found in a video: by text encoder, masklets of each phrase."""


class Tracker(Protocol):
    """Finds the masklets of phrases in a video, for several text encoders on the same vision features.

    Attributes:
        sam3: The segmenter.
    """

    sam3: Sam3Image | Sam3Video

    @property
    def about(self) -> str:
        """All that decides its answers besides its weights and the module's own options."""
        ...

    def track(self, item: VideoItem, phrases: dict[str, PhraseFeatures]) -> VideoTracks:
        """The masklets, entries of the official predictions layout.

        Args:
            item: The video and its phrases.
            phrases: Features of the phrases, by text encoder.

        Raises:
            ValueError: A frame cannot be read.
        """
        ...


class DetectAndLink(nn.Module):
    """Tracking by detection, for a SAM3 without a trained tracker (see `masklet_links`).

    Args:
        sam3: The segmenter.
        least: Least score of a detection that continues a masklet.
        chunk: Phrases that go through the detector at once.
        linker: Makes the linker of a phrase.
    """

    def __init__(self, sam3: Sam3Image, least: float, chunk: int, linker: Callable[[], Linker]) -> None:
        super().__init__()
        self.sam3, self.least, self.chunk, self.linker = sam3, least, chunk, linker

    @property
    def about(self) -> str:
        """See `Tracker`."""
        return type(self).__name__

    def track(self, item: VideoItem, phrases: dict[str, PhraseFeatures]) -> VideoTracks:
        """See `Tracker`; one frame is in memory at a time."""
        sam3 = self.sam3
        asked = {name: features.take(item.phrases) for name, features in phrases.items()}
        linkers = {name: [self.linker() for _ in item.phrases] for name in phrases}
        for t, image in enumerate(item.frames):
            vision = sam3.encode_images(sam3.preprocess([image.to(sam3.device)]).to(sam3.device))
            size = (int(image.shape[1]), int(image.shape[2]))
            for name, (features, lengths) in asked.items():
                found = sam3.segment(
                    vision, features.to(sam3.device), lengths.to(sam3.device), size, self.least, self.chunk
                )
                for linker, part in zip(linkers[name], found, strict=True):
                    linker.add(t, part)
        return {name: [linker.entries(len(item.frames)) for linker in own] for name, own in linkers.items()}


class OwnTracker(nn.Module):
    """SAM3's own tracker (see `Sam3Video`).

    Args:
        sam3: The segmenter.
        chunk: Phrases that are tracked together.
    """

    def __init__(self, sam3: Sam3Video, chunk: int) -> None:
        super().__init__()
        self.sam3, self.chunk = sam3, chunk

    @property
    def about(self) -> str:
        """See `Tracker`."""
        return f"{type(self).__name__} {self.sam3.settings()}"

    def track(self, item: VideoItem, phrases: dict[str, PhraseFeatures]) -> VideoTracks:
        """See `Tracker`; one frame is in memory at a time."""
        asked = {name: features.take(item.phrases) for name, features in phrases.items()}
        return {name: list(found) for name, found in self.sam3.track(item.frames, asked, self.chunk).items()}


class VideoEvalModule(LightningModule):
    """Scores text encoders by the masklets that a frozen SAM3 finds with them (paper, Table 4), all in one pass.

    Args:
        sam3: The segmenter: a folder of `Sam3VideoModel` with a trained tracker, one of `Sam3Model`, or a hub id
            (`facebook/sam3`).
        text_encoders: Text encoders to score, by a name of your choice: a `.ckpt` of `litetext fit`, or published
            SAM3-LiteText weights.
        teacher: Score SAM3's own text encoder too; retention is measured against it.
        geometry_token: Append the token that Meta's SAM3 adds to every text; transformers alone leaves it out.
        tracker: `sam3` is SAM3's own tracker; `links` detects in every frame and links the masks; `auto` takes SAM3's
            own where the checkpoint has one.
        least: With `links`, least score of a detection that continues a masklet; one of at least 0.5 begins one.
        match: With `links`, least IoU of a detection with a masklet's last mask.
        max_age: With `links`, frames that an object may be out of sight.
        min_hits: With `links`, least frames in which a masklet is seen.
        chunk: Phrases that go through the detector at once; lower it if memory is short.
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
        tracker: Literal["auto", "sam3", "links"] = "auto",
        least: float = 0.3,
        match: float = 0.05,
        max_age: int = 6,
        min_hits: int = 3,
        chunk: int = 16,
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    ) -> None:
        super().__init__()
        self.names = name_encoders(sam3, text_encoders, teacher)
        if not self.names:
            raise ValueError("model.text_encoders is empty and model.teacher is false; there is nothing to score")
        for name, value in (("least", least), ("match", match)):
            if not 0 <= value < 1:
                raise ValueError(f"model.{name} is {value}; choose a value from 0 to below 1")
        for name, value, low in (("max_age", max_age, 0), ("min_hits", min_hits, 1), ("chunk", chunk, 1)):
            if value < low:
                raise ValueError(f"model.{name} is {value}; it must be at least {low}")
        self.save_hyperparameters()
        self.sam3_path, self.geometry_token, self.tracker_name = sam3, geometry_token, tracker
        self.links = {"match": match, "max_age": max_age, "min_hits": min_hits}
        self.least, self.chunk = least, chunk
        self.dtype_name: Literal["float32", "bfloat16", "float16"] = dtype
        self.tracker: Any = None
        self.phrases: dict[str, PhraseFeatures] = {}
        self.text_parameters: dict[str, int] = {}
        self.metrics = nn.ModuleDict()
        self.lost: list[Skip] = []
        self.results: dict[str, Any] = {}

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
        settings = [self.geometry_token, self.dtype_name, self.least, self.links]
        identity = hashlib.blake2b(json.dumps(settings).encode())
        tracker: Any = self.load_tracker()
        digest(identity, tracker, tracker.about)
        asked = list(dict.fromkeys(phrase for item in data.videos for phrase in item.phrases))
        self.phrases, self.text_parameters = hear(self.names, asked, tracker.sam3.check_width, device, identity)
        self.tracker = tracker.to(device)
        self.metrics = nn.ModuleDict()
        for name in self.names:
            for split in data.names:
                for kind in KINDS:
                    parts: list[nn.Module] = [VideoCGF1(), PhraseHOTA()]
                    parts += [TETA(data.evaluated[split])] if kind == "segm" else []
                    self.metrics[_place(name, split, kind)] = nn.ModuleList(parts)
        self.journal = Journal(run_folder(self) / "records" / identity.hexdigest()[:16], self.trainer.global_rank)
        done = sum(self._stored(item) is not None for item in data.videos)
        if done:
            rank_zero_info(f"{done:,} of {len(data.videos):,} videos were done before: {self.journal.folder}")

    def load_tracker(self) -> Any:
        """The tracker that the options name, with the segmenter in it.

        Raises:
            FileNotFoundError: There is no such SAM3.
            ValueError: It cannot be read, or has no tracker of its own where one is asked for.
        """
        own = self.tracker_name != "links" and has_tracker(self.sam3_path)
        if self.tracker_name == "sam3" and not own:
            raise ValueError(
                f"model.tracker is sam3, and model.sam3 {self.sam3_path} has no weights of a tracker; "
                "choose model.tracker links, or a Sam3VideoModel"
            )
        if own:
            video = Sam3Video.from_pretrained(self.sam3_path, self.geometry_token, self.dtype_name)
            return OwnTracker(video, self.chunk)
        sam3 = Sam3Image.from_pretrained(self.sam3_path, self.geometry_token, self.dtype_name)
        return DetectAndLink(sam3, self.least, self.chunk, lambda: Linker(**self.links))  # type: ignore[arg-type]

    def _stored(self, item: VideoItem) -> VideoTracks | None:
        content = self.journal.find((item.split, str(item.number)))
        if content is None or content["categories"] != item.categories or self.names.keys() - content["found"].keys():
            return None
        return content["found"]

    def test_step(self, batch: VideoItem, batch_idx: int) -> None:
        """Finds the masklets of one video with every text encoder, and compares them with the true ones."""
        found = self._stored(batch)
        if found is None:
            try:
                found = self.tracker.track(batch, self.phrases)
            except ValueError as error:
                skip = Skip(batch.split, str(batch.frames.video.id), tuple(batch.categories), str(error))
                rank_zero_warn(f"left out: {skip}")
                self.lost.append(skip)
                return
            self.journal.add((batch.split, str(batch.number)), {"categories": batch.categories, "found": found})
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
        """Writes results.json and the predictions, and shows the table."""
        data = self.data
        scores: dict[IouType, dict[str, dict[str, dict[str, float]]]] = {"segm": {}, "bbox": {}}
        numbers: dict[str, dict[str, dict[str, float]]] = {}
        for name in self.names:
            for split in data.names:
                for kind in KINDS:
                    found = self._numbers(name, split, kind)
                    numbers.setdefault(name, {}).setdefault(split, {}).update(found)
                    scores[kind].setdefault(name, {})[split] = _headline(found, kind)
        skips = of_all_ranks([*data.skips, *self.lost])
        self.results = summarize(scores["segm"], self.text_parameters, TEACHER, scores["bbox"])
        self.results |= {
            "partial": data.partial or bool(skips),
            "left_out": sum(len(skip.ids) for skip in skips),
            "official": numbers,
        }
        self.trainer.strategy.barrier()  # all records are written
        if self.trainer.is_global_zero:
            self._write()

    def _numbers(self, name: str, split: str, kind: IouType) -> dict[str, float]:
        prefix = f"video_{KINDS[kind]}_"
        numbers: dict[str, float] = {}
        metrics: Any = self.metrics[_place(name, split, kind)]
        for metric, part in zip(metrics, ("demo_", "all_phrase_", ""), strict=False):
            with metric.sync_context():
                numbers |= {f"{prefix}{part}{key}": value for key, value in type(metric).compute(metric).items()}
        return numbers

    def _write(self) -> None:
        folder = run_folder(self)
        self.journal = Journal(self.journal.folder, 0)  # of all processes
        for split in self.data.names:
            items = [item for item in self.data.videos if item.split == split]
            for name in self.names:
                tracks = [
                    {"video_id": item.frames.video.id, **entry}
                    for item in items
                    if (found := self._stored(item)) is not None
                    for entry in _entries(item, found[name])
                ]
                replace_json(folder / "predictions" / name / f"{split}.json", tracks)
        replace_json(folder / "results.json", self.results)
        logger = self.trainer.logger
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_text("results", table(self.results, markdown=True), 0)
            for name, entry in self.results["encoders"].items():
                for column, value in entry["average"].items():
                    if value is not None:
                        logger.experiment.add_scalar(f"{name}/{column}", value, 0)
        print(table(self.results))
        if self.results["partial"]:
            print(f"partial: {self.results['left_out']:,} pairs were left out")
        print(f"results     {folder / 'results.json'}\npredictions {folder / 'predictions'}")


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
