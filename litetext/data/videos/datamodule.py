"""VideoDataModule: SA-Co VEval as released, video by video with all of its query phrases."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_info
from torch.utils.data import DataLoader

from litetext.data.drawn.folder import drawn_benchmark, own_folder
from litetext.data.drawn.videos import write_videos
from litetext.data.images.datamodule import RankSampler
from litetext.data.images.items import Skip
from litetext.data.options import check_minimum
from litetext.data.videos.frames import Frames, find_frames
from litetext.saco.subsets import VEVAL_DOMAINS
from litetext.saco.videos import Masklets, VideoAnnotations, masklets, read_video_annotations

_FILE = re.compile(r"saco_veval_(\w+?_(?:val|test)(?:_updated)?)\.json(?:\.gz)?")
_SPLIT = re.compile(r"(\w+)_(val|test)(?:_updated)?")
_MEDIA = {"smartglasses": "sg"}
_FRAME_COST = 13
"""What the vision tower costs once a frame, in phrases of it."""


class VideoItem(NamedTuple):
    """A video with its query phrases.

    Attributes:
        split: Domain and split, such as `sav_test`.
        number: Its position in the split.
        frames: Its frames, read as they are needed.
        categories: Category ids of the queries, in the order of the file.
        phrases: Their noun phrases.
        truth: True masklets of all phrases.
    """

    split: str
    number: int
    frames: Frames
    categories: list[int]
    phrases: list[str]
    truth: Masklets


class VideoDataModule(LightningDataModule):
    """SA-Co VEval as released, or the embedded video benchmark.

    Attributes:
        names: The splits in the order they are served, after `setup`.
        videos: The videos, after `setup`.
        evaluated: Categories with ground truth of each split, in the order of its file.
        skips: Videos left out, with reasons.

    Args:
        root: Folder with the annotation files (or with `annotation` and `media` in it, as released); or `nouns:N` or
            `shapes:N`, the embedded benchmarks with N videos, which are written to checkpoints/nouns_video/N and
            checkpoints/shapes_video/N once.
        splits: Names such as `sav_test`, or `test`, `val`, or `all` that the folder holds. Files from which Meta's
            script has taken the videos that are gone (saco_veval_yt1b_val_updated.json) are splits of their own
            (`yt1b_val_updated`); `test`, `val` and `all` take them where the whole file is not there.
        media: Folders of the frames' folders, by domain: sav, yt1b, smartglasses. By default they are looked for in
            root/media/saco_NAME and root/NAME, with or without a folder JPEGImages_* in it.
        skip_missing_videos: Go on without videos that lack a frame; the result is then marked as partial.
        limit: Use only the first so many videos of each split; the result is then marked as partial.

    Raises:
        ValueError: If an option is out of its range.
    """

    def __init__(
        self,
        root: str,
        splits: list[str] | str = "test",
        media: dict[str, str] | None = None,
        skip_missing_videos: bool = False,
        limit: int | None = None,
    ) -> None:
        super().__init__()
        check_minimum(1, data__limit=limit)
        self.root, self.splits, self.media = root, splits, media or {}
        self.skip_missing_videos, self.limit = skip_missing_videos, limit
        self.drawn = drawn_benchmark(root, "videos, as {world}:24", ("shapes", "nouns"))
        if self.drawn is not None:
            self.root = own_folder(f"checkpoints/{self.drawn.world}_video/{self.drawn.number}", self.drawn.world)
        self.names: list[str] = []
        self.videos: list[VideoItem] = []
        self.evaluated: dict[str, list[int]] = {}
        self.skips: list[Skip] = []
        self.limited = False

    @property
    def partial(self) -> bool:
        """Videos that should count were left out."""
        return self.limited or bool(self.skips)

    def prepare_data(self) -> None:
        """Writes the embedded benchmark if it is asked for and not there; one process a machine."""
        if self.drawn is not None:
            write_videos(self.drawn, Path(self.root))

    def setup(self, stage: str) -> None:
        """Finds and reads the files, says what is there and what is missing; every rank does the same. Once.

        Raises:
            FileNotFoundError: Annotation files or frames are missing.
            ValueError: An annotation file cannot be read, or no video is left.
        """
        if self.names:
            return
        lacking: list[str] = []
        found = find_splits(Path(self.root).expanduser(), self.splits)
        domains = list(dict.fromkeys(map(_domain, found)))
        if strange := [domain for domain in self.media if domain not in (*VEVAL_DOMAINS, *domains)]:
            raise ValueError(f"data.media.{strange[0]} is no domain; give one of: {', '.join(domains)}")
        for name, path in found.items():
            annotations = read_video_annotations(path)
            items = [item for item in read_items(name, annotations, self._media(_domain(name))) if item.categories]
            if not annotations.masked:
                raise ValueError(f"split {name}: {annotations.name} holds boxes and no masks, and masks are scored")
            for note in annotations.notes:
                rank_zero_info(note)
            for (video, category), reason in annotations.left_out.items():
                self.skips.append(Skip(name, str(video), (category,), reason))
            gone = {item.number: missing for item in items if (missing := item.frames.missing())}
            rank_zero_info(
                f"split {name}: {len(items):,} videos, {len(annotations.pairs):,} pairs, "
                f"{sum(map(len, annotations.truth.values())):,} masklets, {len(gone):,} videos lack frames"
            )
            for item in items:
                if item.number in gone:
                    paths = gone[item.number]
                    reason = f"{len(paths):,} of {len(item.frames):,} frames are missing, such as {paths[0]}"
                    self.skips.append(Skip(name, str(item.frames.video.id), tuple(item.categories), reason))
            if gone:
                lacking.append(
                    f"{name}: {len(gone):,} of {len(items):,} videos lack frames ({self.skips[-1].reason}), "
                    f"--data.media.{_domain(name)} FOLDER"
                )
            items = [item for item in items if item.number not in gone]
            if self.limit is not None and len(items) > self.limit:
                self.limited, items = True, items[: self.limit]
            self.videos += items
            self.evaluated[name] = annotations.evaluated
            self.names.append(name)
        for line in lacking:
            rank_zero_info(f"missing: {line}")
        if lacking and not self.skip_missing_videos:
            self.names = []
            raise FileNotFoundError(
                "; ".join(lacking) + "; name the folder as written, or go on without them "
                "(--data.skip_missing_videos true)"
            )
        if not self.videos:
            raise ValueError(f"no video is left to be asked in {', '.join(self.names)}; data.root is {self.root}")

    def _media(self, domain: str) -> Path:
        if domain in self.media:
            return Path(self.media[domain]).expanduser()
        root = Path(self.root).expanduser()
        places = [root / "media" / f"saco_{_MEDIA.get(domain, domain)}", root / f"saco_{_MEDIA.get(domain, domain)}"]
        for place in [*places, root / domain]:
            if place.is_dir():
                return next(iter(sorted(place.glob("JPEGImages_*"))), place)
        return places[0]

    def test_dataloader(self) -> DataLoader:
        """This rank's videos, one a batch; None where there are more processes than videos."""
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)
        videos: Any = self.videos
        sampler = RankSampler([len(v.frames) * (_FRAME_COST + len(v.phrases)) for v in videos], rank, world)
        if not len(sampler):  # Lightning refuses a process without a batch
            videos, sampler = [None], RankSampler(1, 0, 1)
        return DataLoader(videos, batch_size=1, sampler=sampler, collate_fn=_only)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Leaves it where it is: frames are read and moved one at a time."""
        return batch


def find_splits(root: Path, wanted: Sequence[str] | str) -> dict[str, Path]:
    """The annotation files of the wanted splits, by name.

    Args:
        root: Folder with the files, or with a folder `annotation` that has them.
        wanted: Names such as `sav_test`; or `test`, `val`, `all`.

    Raises:
        FileNotFoundError: There is no such folder, or a file is missing.
    """
    if not root.is_dir():
        raise FileNotFoundError(
            f"data.root {root}: no such folder; give the folder of the SA-Co VEval annotation files"
        )
    there: dict[str, Path] = {}
    for folder in (root, root / "annotation"):
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if found := _FILE.fullmatch(path.name):
                there.setdefault(found[1], path)
    order = {name: place for place, name in enumerate(VEVAL_DOMAINS)}
    known = sorted(there, key=lambda name: (order.get(_domain(name), len(order)), name))
    whole = [name for name in known if not name.endswith("_updated") or name.removesuffix("_updated") not in there]
    names: list[str] = []
    for name in [wanted] if isinstance(wanted, str) else wanted:
        if name in ("all", "test", "val"):
            names += [k for k in whole if name == "all" or k.removesuffix("_updated").endswith(f"_{name}")]
        else:
            names.append(name)
    missing = [name for name in names if name not in there]
    if missing or not names:
        lacks = ", ".join(f"saco_veval_{name}.json" for name in missing) or f"any file for {wanted}"
        raise FileNotFoundError(f"data.root {root} lacks {lacks}; splits found: {', '.join(known) or 'none'}")
    return {name: there[name] for name in dict.fromkeys(names)}


def read_items(name: str, annotations: VideoAnnotations, media: Path) -> list[VideoItem]:
    """The videos of a split with their queries.

    Args:
        name: The split.
        annotations: Its file.
        media: Folder of the frames' folders.

    Raises:
        ValueError: A frame's name leaves the folder.
    """
    pairs: dict[Any, dict[int, str]] = {video: {} for video in annotations.videos}
    for video, category in annotations.pairs:
        pairs[video][category] = annotations.categories[category]
    items = []
    for number, (video, about) in enumerate(annotations.videos.items()):
        truth = annotations.truth.get(video) or masklets([], about, "")
        phrases = pairs[video]
        items.append(VideoItem(name, number, find_frames(about, media), list(phrases), list(phrases.values()), truth))
    return items


def _domain(split: str) -> str:
    """The domain of a split: of `yt1b_val_updated` it is `yt1b`."""
    found = _SPLIT.fullmatch(split)
    return found[1] if found else split


def _only(items: list[VideoItem | None]) -> VideoItem | None:
    return items[0]
