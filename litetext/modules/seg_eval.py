"""SegEvalModule: a frozen SAM3 prompted through many text encoders, and zero-shot detectors beside it."""

import hashlib
import json
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

from lightning.pytorch.utilities import rank_zero_info
from torch import nn

from litetext.data.images.datamodule import SegBatch, SegDataModule
from litetext.data.images.items import ImagePairs, SegItem
from litetext.data.options import check_minimum, check_share
from litetext.metrics.assess import MIN_SCORE, IouType
from litetext.metrics.cgf1 import PhraseCounts
from litetext.metrics.counts import headline, official
from litetext.models.detectors import Detector
from litetext.models.devices import DTypeOption
from litetext.models.sam3.image import Sam3Image
from litetext.models.sam3.phrase_memory import phrases_at_once, sam3_phrase_bytes
from litetext.models.text.encoder import digest
from litetext.modules import disagreements
from litetext.modules.evaluation import TEACHER, encode_all, name_encoders
from litetext.modules.evaluation_module import EvaluationModule
from litetext.modules.kinds import Kinds
from litetext.modules.prepared import Prepare, Prepared
from litetext.modules.records import BegunRecord, Records, coco_results, finished, sides_of, without
from litetext.modules.results import defined, summarize
from litetext.modules.results_files import check_name, write_list
from litetext.modules.resume_cache import describe_reuse
from litetext.modules.run_data import run_data
from litetext.modules.selecting import encode_instances
from litetext.modules.zero_shot import ZeroShot
from litetext.saco.instances import Instances
from litetext.saco.mask_threads import MaskThreads

_IMAGES_AHEAD = 1
"""Images whose masks threads may still encode while the device is at the next."""


class _Waiting(NamedTuple):
    """A segmented image, its record's key, the record, and whether that is to be stored."""

    item: SegItem
    key: str
    begun: BegunRecord
    new: bool


class SegEvalModule(EvaluationModule):
    """Scores text encoders by what a frozen SAM3 segments with them (paper, Table 3), all in one pass.

    Vision features are computed once an image, text features once a distinct phrase and encoder. Zero-shot detectors
    stand beside them, scored by their boxes, and by the masks that these prompt with `box_segmenter`.

    Args:
        sam3: The segmenter in transformers' layout: a folder, `checkpoints/sam3-tiny`, or a hub id (`facebook/sam3`).
            null loads none: then there are detectors only.
        text_encoders: Text encoders to score, by a name of your choice: a `.ckpt` of `litetext fit`, or published
            SAM3-LiteText weights. Of names such as mine-seed1 and mine-seed2, mean and spread are printed too.
        teacher: Score SAM3's own text encoder too; retention is measured against it.
        geometry_token: Append the token that Meta's SAM3 adds to every text; transformers alone leaves it out.
        threshold: Minimum score of an instance that is kept; the metrics count from 0.5 on.
        chunk: Phrases that go through a model at once; lower it if memory is short. Results do not depend on it.
        pictures: Pictures a subset, the worst disagreements between the text encoders first; 0 for none.
        dtype: Type of the segmenter's weights and computation; `auto` is bfloat16 on a GPU that computes in it, as
            Meta's SAM3 runs, and float32 elsewhere. Post-processing and detectors are in float32.
        detectors: Zero-shot detectors of transformers to score by their boxes, by a name of your choice: Grounding
            DINO, MM Grounding DINO (LLMDet) or OWLv2, a folder or a hub id (`google/owlv2-large-patch14`).
        nms: IoU above which two masks of a phrase show one object, of which the one with the higher score counts;
            null, as in the official protocol, suppresses nothing. Detectors are left as they are.
        detector_thresholds: By a detector's name, its own score that counts as 0.5: detectors are not calibrated.
            Scores below and above are stretched in proportion, so that official evaluators count the same. By default
            what the SAM 3 paper uses (section F.1): 0.4, and 0.2 for OWLv2.
        box_segmenter: A SAM or SAM 2 of transformers that makes a mask of each box that a detector finds, a folder or
            a hub id (`facebook/sam-vit-huge`, `facebook/sam2.1-hiera-large`). Then detectors are scored by masks too.
        phrases_per_prompt: Phrases that a Grounding DINO reads in one prompt, where they compete. SAM 3's authors
            found 30 on Gold and 20 on Silver much better than 1, so that is how to compare with their numbers.
        memory_gb: Memory for phrases in GB, beside weights and image. Then `chunk` follows from an estimate of what
            one phrase takes, for each model.
        fresh: Compute everything anew and clear what an earlier run of the same evaluation stored. Otherwise answers
            are reused where pixels, phrases, models, options and code are the same.

    Raises:
        ValueError: If an option is out of its range, or there is nothing to score.
    """

    def __init__(
        self,
        sam3: str | None = "checkpoints/sam3-tiny",
        text_encoders: dict[str, str] | None = None,
        teacher: bool = True,
        geometry_token: bool = True,
        threshold: float = 0.5,
        chunk: int = 16,
        pictures: int = 4,
        dtype: DTypeOption = "auto",
        detectors: dict[str, str] | None = None,
        detector_thresholds: dict[str, float] | None = None,
        phrases_per_prompt: int = 1,
        memory_gb: float | None = None,
        fresh: bool = False,
        nms: float | None = None,
        box_segmenter: str | None = None,
    ) -> None:
        super().__init__(name_encoders(sam3, text_encoders, teacher), geometry_token, dtype, fresh)
        detectors, thresholds = detectors or {}, dict(detector_thresholds or {})
        if not self.names and not detectors:
            raise ValueError(
                "model.text_encoders is empty and model.teacher is false (or model.sam3 null), and model.detectors is "
                "empty too; there is nothing to score"
            )
        twice = sorted(self.names.keys() & detectors.keys())
        if twice:
            raise ValueError(f"model.detectors.{twice[0]} is the name of a text encoder too; choose another")
        for name in detectors:
            check_name("a name in model.detectors", name)
        unknown = sorted(thresholds.keys() - detectors.keys())
        if unknown:
            raise ValueError(f"model.detector_thresholds.{unknown[0]}: model.detectors has no such name")
        if box_segmenter is not None and not detectors:
            raise ValueError("model.box_segmenter makes masks of detectors' boxes; name a detector in model.detectors")
        for name, value in thresholds.items():
            if not 0 < value < 1:
                raise ValueError(f"model.detector_thresholds.{name} is {value}; choose a score between 0 and 1")
        check_share(model__threshold=threshold)
        if nms is not None and not 0 <= nms <= 1:
            raise ValueError(f"model.nms is {nms}; choose an IoU from 0 to 1, or null to suppress nothing")
        check_minimum(1, model__chunk=chunk, model__phrases_per_prompt=phrases_per_prompt)
        if memory_gb is not None and not memory_gb > 0:
            raise ValueError(f"model.memory_gb is {memory_gb}; it must be above 0, or null to go by model.chunk")
        check_minimum(0, model__pictures=pictures)
        self.save_hyperparameters()
        self.sam3_path, self.nms = sam3, nms
        self.threshold, self.chunk, self.memory_gb, self.pictures = threshold, chunk, memory_gb, pictures
        self.zero_shot = ZeroShot(detectors, thresholds, phrases_per_prompt, box_segmenter)
        self.sam3: Sam3Image | None = None
        self.counts = nn.ModuleList()
        self.place: dict[tuple[str, str, IouType], int] = {}
        self.waiting: deque[_Waiting] = deque()

    @property
    def scored(self) -> list[str]:
        """Names of all that is scored: text encoders, then detectors."""
        return [*self.names, *self.zero_shot.paths]

    @property
    def data(self) -> SegDataModule:
        """The datamodule of the run.

        Raises:
            ValueError: If the run has another kind of data.
        """
        return run_data(self, SegDataModule)

    def setup(self, stage: str) -> None:
        """Loads the segmenter and the detectors, and encodes every phrase with every text encoder."""
        data = self.data
        options: dict[str, Any] = {"threshold": self.threshold}
        if self.nms is not None:
            options["nms"] = self.nms
            rank_zero_info(f"duplicates above an IoU of {self.nms:g} are suppressed: not the official protocol")
        identity = self.begin("data.coco.name", data.names, options)
        if self.names:
            self._load_segmenter(identity)
        self.waiting, self.threads = deque(), MaskThreads()
        data.prepare = Prepare(None if self.sam3 is None else self.sam3.processor)
        self.zero_shot.load(self.trainer.strategy.root_device, identity)
        self.text_parameters |= self.zero_shot.text_parameters
        boxed = {i.subset for i in data.images for p in i.pairs for t in p.truths if t.masks is None and t.boxes}
        if boxed and (self.names or self.zero_shot.boxes is not None):
            rank_zero_info(f"subset {', '.join(sorted(boxed))} has no masks: there and on average boxes are scored")
        self.place = {}
        for name in self.scored:
            for subset in data.names:
                if (name in self.names or self.zero_shot.boxes is not None) and subset not in boxed:
                    self.place[name, subset, "segm"] = len(self.place)
                self.place[name, subset, "bbox"] = len(self.place)
        self.counts = nn.ModuleList(PhraseCounts(iou_type) for _, _, iou_type in self.place)
        self.records = Records(self.open_cache(identity))

    def _load_segmenter(self, identity: Any) -> None:
        asked = list(dict.fromkeys(pair.phrase for image in self.data.images for pair in image.pairs))
        self.sam3 = Sam3Image.from_pretrained(str(self.sam3_path), self.geometry_token, self.dtype_name)
        digest(identity, self.sam3, self.sam3.settings())
        self.phrases, parameters = encode_all(
            self.names, asked, self.sam3.check_width, self.trainer.strategy.root_device, identity
        )
        self.text_parameters |= parameters
        self.sam3.to(self.trainer.strategy.root_device)
        if self.memory_gb is not None:
            each = sam3_phrase_bytes(self.sam3)
            self.chunk = phrases_at_once(self.memory_gb, each)
            rank_zero_info(f"{self.memory_gb:g} GB: {self.chunk:,} phrases at once, {each / 1e6:,.1f} MB each")

    def test_step(self, batch: SegBatch, batch_idx: int) -> None:
        """Segments the images of a batch with everything that is scored, and counts."""
        for item in batch.items:
            key = self.records.key(item)
            record = self.records.find(key)
            try:
                begun = self.segment(item) if record is None else record
            except BaseException:
                with suppress(Exception):
                    self._count_finished(0)  # nothing that was done is done again
                raise
            self.waiting.append(_Waiting(item, key, begun, record is None))
            self._count_finished(_IMAGES_AHEAD)

    def _count_finished(self, ahead: int) -> None:
        """Stores and counts images in order, all but the last so many: threads still work on their masks."""
        while len(self.waiting) > ahead:
            item, key, begun, new = self.waiting.popleft()
            record = finished(begun)
            if new:
                self.records.add(key, record)
            pairs = [pair for pair in item.pairs if pair.evaluated]  # the others are asked, and never count
            truths = [pair.truths for pair in pairs]
            ids = [pair.id for pair in pairs]
            for (name, subset, _), place in self.place.items():
                if subset == item.subset:
                    found, metric = record[name], cast(PhraseCounts, self.counts[place])
                    metric.update(ids, [found[i] for i in ids], truths)

    def segment(self, item: SegItem) -> BegunRecord:
        """The predictions for one image: with every text encoder, and of every detector.

        Args:
            item: The image and its phrases.

        Returns:
            By name and pair id; threads may still be at the run lengths of masks.
        """
        begun = self._segment_with_sam3(item) if self.names else {}
        prompts = partial(self._prompts_at_once, item)
        return {**begun, **self.zero_shot.find(item, self.threshold, prompts, self.threads)}

    def _prompts_at_once(self, item: SegItem, detector: Detector) -> int:
        if self.memory_gb is None:
            return self.chunk
        return phrases_at_once(self.memory_gb, detector.prompt_bytes(*item.image.shape[1:]))

    def _segment_with_sam3(self, item: SegItem) -> BegunRecord:
        if self.sam3 is None:
            raise ValueError("no segmenter is loaded; run setup first")
        ready = item.prepared.square if isinstance(item.prepared, Prepared) else None
        pixels = self.sam3.preprocess([item.image]) if ready is None else ready
        vision = self.sam3.encode_images(pixels.to(self.sam3.device))
        size = (int(item.image.shape[1]), int(item.image.shape[2]))
        record: dict[str, dict[int, Future[Instances]]] = {}
        for name in self.names:
            features, lengths = self.phrases[name].take([pair.phrase for pair in item.pairs])
            parts = self.sam3.segment(vision, features.to(self.sam3.device), lengths, size, self.threshold, self.chunk)
            record[name] = {pair.id: self._instances(part) for pair, part in zip(item.pairs, parts, strict=True)}
        return record

    def _instances(self, found: Instances) -> Future[Instances]:
        masks = found.masks.cpu().numpy()
        return self.threads.submit(
            masks.nbytes, encode_instances, found.scores.tolist(), found.boxes.tolist(), masks, self.nms
        )

    def on_test_epoch_end(self) -> None:
        """Writes results.json and the predictions, and shows the table.

        Raises:
            ValueError: Nothing was scored.
        """
        data = self.data
        self._count_finished(0)
        self.threads.close()
        self.ranks.wait("recorded")  # hours, maybe: no collective waits so long
        records, skips = self.records.join(), data.all_skips()
        lost = {(skip.subset, i) for skip in skips for i in skip.ids}
        asked = [without(image, lost) for image in data.images]
        sides = {subset: sides_of(asked, records, subset) for subset in data.names}
        numbers: dict[str, dict[str, dict[str, float]]] = {}
        scores: dict[IouType, dict[str, dict[str, dict[str, float | None]]]] = {"segm": {}, "bbox": {}}
        by_kind = Kinds(asked, data.beside)
        for (name, subset, iou_type), place in self.place.items():
            metric: Any = self.counts[place]
            with metric.sync_context():
                counts = metric.counts()
                ids, rows = metric.rows()
            by_kind.add(name, subset, iou_type, ids, rows)
            row = defined(headline(counts), *sides[subset], ("CG_F1", "IL_MCC"))
            scores[iou_type].setdefault(name, {})[subset] = row
            numbers.setdefault(name, {}).setdefault(subset, {}).update(official(counts, iou_type))
        totals = self.zero_shot.parameters()
        self.results = summarize(scores["segm"], self.text_parameters, TEACHER, scores["bbox"], totals, data.beside)
        by_kind.add_to(self.results["encoders"], TEACHER)
        dtype = self.dtype_name if self.names else None
        unasked = any(image.pairs and (image.subset, image.file_name) not in records.keys for image in asked)
        asked_for = f"{data.pairs:,} pairs"
        self.complete(sides, numbers, skips, asked_for, data.limited or unasked, dtype, self._unofficial())
        self.results["evaluation"] = self._evaluation(asked, records)
        if self.trainer.is_global_zero:
            self._write(asked, records)
        self.ranks.part("written")

    def _unofficial(self) -> list[str]:
        """What is otherwise than in the official protocol."""
        found = []
        if self.nms is not None:
            found.append(f"duplicates above an IoU of {self.nms:g} suppressed (model.nms)")
        if self.threshold > MIN_SCORE:
            found.append(f"instances from a score of {self.threshold:g} on (model.threshold)")
        if self.data.coco is not None:
            found.append(f"{self.data.coco.name} is a COCO-style data set of its own (data.coco)")
        return found

    def _evaluation(self, asked: list[ImagePairs], records: Records) -> str:
        """Id of this evaluation: everything that its results follow from, the ground truth among it."""
        hasher = hashlib.blake2b(f"{self.identity} {self.results['left_out']}".encode(), digest_size=16)
        for image in asked:
            key = records.keys.get((image.subset, image.file_name))
            truths = [
                [pair.id, pair.evaluated, *pair.truths, *(x for x in (pair.kind, pair.twin) if x is not None)]
                for pair in image.pairs
            ]
            hasher.update(json.dumps([image.subset, image.file_name, key, truths], default=str).encode())
        return hasher.hexdigest()

    def _write(self, asked: list[ImagePairs], records: Records) -> None:
        def fill(draft: Path) -> None:
            for subset in self.data.names:
                images = [image for image in asked if image.subset == subset]
                for name in self.scored:
                    found = coco_results(images, records, name)
                    write_list(draft / "predictions" / name / f"{subset}.json", found)
                cases = disagreements.worst(images, records, self.scored, self.pictures)
                if cases:
                    disagreements.save(cases, self.scored, draft / "pictures" / subset, self.board)

        segmenter = [] if self.sam3 is None else [f"segmenter   {self.dtype_name} on {self.sam3.device.type}"]
        self.publish(fill, segmenter, describe_reuse(records.reused, len(records.keys), "images", records.cache))
