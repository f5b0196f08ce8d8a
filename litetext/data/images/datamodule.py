"""SegDataModule: images with all of their query phrases, for scoring segmenters."""

import heapq
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler, get_worker_info

from litetext.data.drawn.folder import drawn_benchmark, own_folder
from litetext.data.drawn.images import subsets_beside, write_images
from litetext.data.images.coco import CocoSet, read_coco
from litetext.data.images.gold import Contents, find_subsets, read_subset
from litetext.data.images.items import ImagePairs, SegItem, Skip, of_all_ranks, ready
from litetext.data.images.orientation import orient
from litetext.data.options import check_minimum

_log = logging.getLogger(__name__)
_IMAGE_COST = 13
"""What the vision tower costs once an image, in phrases of it: about as many at SAM3's full size."""


class SegBatch(NamedTuple):
    """One or more images.

    Attributes:
        items: The images that can be used; may be empty.
        skips: Pairs that turned out to be unusable, with reasons. `SegDataModule.skips` collects them.
    """

    items: list[SegItem]
    skips: list[Skip]


class SegDataset(Dataset):
    """Decodes images and checks masks.

    Args:
        images: The images and their pairs.
        prepare: What worker processes make of each image besides, for `SegItem.prepared`; where there are no workers,
            the reader does it.
    """

    def __init__(self, images: list[ImagePairs], prepare: Callable[[Tensor], Any] | None = None) -> None:
        self.images, self.prepare = images, prepare

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[SegItem | None, list[Skip]]:
        """The image at this position."""
        item, skips = ready(self.images[index])
        if item is not None and self.prepare is not None and get_worker_info() is not None:
            item = item._replace(prepared=self.prepare(item.image))
        return item, skips


class RankSampler(DistributedSampler):
    """This process's images, none repeated and none left out, so that all processes have about as much to do.

    The most expensive image goes first, each to the process that has least (Graham 1969): no process has more than the
    most expensive image above another, and none waits long for the others. Lightning replaces a sampler that is no
    DistributedSampler, and its own one repeats images to fill up.

    Args:
        costs: What each image costs, in any unit; or the number of images, which then cost the same.
        rank: This process.
        world_size: Number of processes.
    """

    def __init__(self, costs: int | Sequence[float], rank: int, world_size: int) -> None:
        costs = [1.0] * costs if isinstance(costs, int) else list(costs)
        super().__init__(range(len(costs)), num_replicas=world_size, rank=rank, shuffle=False)  # pyright: ignore[reportArgumentType]
        loads = [(0.0, process) for process in range(world_size)]
        self.order: list[int] = []
        for image in sorted(range(len(costs)), key=lambda n: (-costs[n], n)):
            load, process = heapq.heappop(loads)
            if process == rank:
                self.order.append(image)
            heapq.heappush(loads, (load + costs[image], process))
        self.order.sort()

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[int]:
        """Yields positions, ascending."""
        return iter(self.order)


class _Collecting(DataLoader):
    """Hands what its workers had to skip to a list of this process."""

    collected: list[Skip]

    def __iter__(self) -> Iterator[SegBatch]:  # pyright: ignore[reportIncompatibleMethodOverride]
        for batch in super().__iter__():
            for skip in batch.skips:
                if skip not in self.collected:  # a second pass meets them again
                    self.collected.append(skip)
                    _log.warning("left out: %s", skip)
            yield batch


class SegDataModule(LightningDataModule):
    """SA-Co Gold and Silver as released, and any COCO-style data set, image by image.

    Attributes:
        names: The subsets in the order they are served, after `setup`.
        skips: Pairs left out, with reasons: those known after `setup` on every rank, and those that only decoding
            finds on the rank that met them; `all_skips` joins the ranks.
        missing: Files of each subset that are not in its image folder.
        limited: `limit` left images out.

    Args:
        root: Folder with the annotation files of SA-Co Gold or Silver; or `nouns:N` or `shapes:N`, the embedded
            benchmarks with N images a subset, which are written to checkpoints/nouns/N and checkpoints/shapes/N once
            (to N-CODE beside what another version of litetext drew there);
            or `probes:N`, N pairs of each language probe, written to checkpoints/probes/N.
        subsets: Names of subsets, or `gold` (its seven), `silver` (its ten), or `all` that the folder holds.
        images: Image folders: `metaclip` and `sa1b` for Gold, `silver` for one folder per domain, or a subset's name.
            By default they are looked for in root and root/images.
        coco: A COCO-style data set as one more subset (or the only one, without root).
        skip_missing_images: Go on without the images that are not there; the result is then marked as partial.
        batch_size: Images a step.
        limit: Use only the first so many images of each subset; the result is then marked as partial.
        evaluated_only: Leave out pairs that never count because an annotator is not exhaustive. Otherwise they are
            asked, and their predictions written, but no score counts them.
        num_workers: Processes that read, decode and preprocess images ahead.
        missing_list: Write the paths of all missing images to this file.

    Raises:
        ValueError: If neither root nor coco is given, or an option is out of its range.
    """

    def __init__(
        self,
        root: str | None = None,
        subsets: list[str] | str = "gold",
        images: dict[str, str] | None = None,
        coco: CocoSet | None = None,
        skip_missing_images: bool = False,
        batch_size: int = 1,
        limit: int | None = None,
        evaluated_only: bool = True,
        num_workers: int = 0,
        missing_list: str | None = None,
    ) -> None:
        super().__init__()
        if root is None and coco is None:
            raise ValueError("data.root is missing; give the folder of the SA-Co annotation files, or data.coco")
        check_minimum(1, data__batch_size=batch_size, data__limit=limit)
        check_minimum(0, data__num_workers=num_workers)
        self.root, self.subsets, self.folders, self.coco = root, subsets, images or {}, coco
        self.skip_missing_images, self.batch_size, self.limit = skip_missing_images, batch_size, limit
        self.evaluated_only, self.num_workers, self.missing_list = evaluated_only, num_workers, missing_list
        counted = "pairs a probe" if (root or "").startswith("probes:") else "images a subset"
        self.drawn = drawn_benchmark(root, f"{counted}, as {{world}}:40") if root is not None else None
        if self.drawn is not None:
            self.root = own_folder(f"checkpoints/{self.drawn.world}/{self.drawn.number}", self.drawn.world)
        self.prepare: Callable[[Tensor], Any] | None = None
        self.names: list[str] = []
        self.images: list[ImagePairs] = []
        self.skips: list[Skip] = []
        self.missing: dict[str, list[Path]] = {}
        self.limited = False

    @property
    def partial(self) -> bool:
        """Pairs that should count were left out, as far as this rank knows."""
        return self.limited or bool(self.skips)

    @property
    def beside(self) -> list[str]:
        """Subsets that stand beside the average of the others: those of nouns that show what training does not."""
        beside = () if self.root is None else subsets_beside(Path(self.root).expanduser())
        return [name for name in self.names if name in beside]

    @property
    def pairs(self) -> int:
        """Pairs to be served, on all ranks."""
        return sum(len(image.pairs) for image in self.images)

    def prepare_data(self) -> None:
        """Writes the embedded benchmark if it is asked for and not there; one process a machine."""
        if self.drawn is not None:
            write_images(self.drawn, Path(self.root or ""))

    def setup(self, stage: str) -> None:
        """Finds and reads the files, says what is there and what is missing; every rank does the same. Once.

        Raises:
            FileNotFoundError: Annotation files or images are missing.
            ValueError: An annotation file cannot be read, or no pair is left.
        """
        if self.names:
            return
        lines, lacking, found = [], [], []
        for name, folder, contents in self._read():
            gone = {image.file_name for image in contents.images if not image.path.is_file()}
            there = [image for image in contents.images if image.file_name not in gone]
            lost = [image for image in contents.images if image.file_name in gone]
            count = sum(len(image.pairs) for image in contents.images)
            lines.append(
                f"subset {name}: {contents.total:,} pairs, {contents.unevaluated:,} of them not exhaustive; "
                f"{count:,} to ask of {len(contents.images):,} images, {len(gone):,} images missing, "
                f"{len(contents.skips):,} entries unusable"
            )
            lines += [f"  left out: {skip}" for skip in contents.skips[:5]]
            if len(contents.skips) > 5:
                lines.append(f"  left out: {len(contents.skips) - 5:,} entries more")
            lines += [f"  {note}" for note in contents.notes]
            self.skips += contents.skips
            if lost:
                without = sum(len(image.pairs) for image in lost)
                self.missing[name] = [image.path for image in lost]
                some = ", ".join(image.file_name for image in lost[:3]) + (", ..." if len(lost) > 3 else "")
                lacking.append(
                    f"{name}: {len(lost):,} of {len(contents.images):,} images ({without:,} of {count:,} pairs) "
                    f"are not in {folder}: {some}"
                )
                self.skips += [
                    Skip(name, image.file_name, tuple(pair.id for pair in image.pairs), f"no such image: {image.path}")
                    for image in lost
                ]
            if self.limit is not None and len(there) > self.limit:
                self.limited, there = True, there[: self.limit]
            found.append((name, there))
        for line in [*lines, *(f"missing: {line}" for line in lacking)]:
            rank_zero_info(line)
        self._write_missing()
        if lacking and not self.skip_missing_images:
            own = self.coco.name if self.coco is not None else None
            options = dict.fromkeys("--data.coco.images" if n == own else f"--data.images.{n}" for n in self.missing)
            raise FileNotFoundError(
                "; ".join(lacking) + f"; name the folder ({' or '.join(options)} FOLDER), or go on without them "
                "(--data.skip_missing_images true)"
            )
        self.images = [image for _, there in found for image in there]
        if not self.images:
            reason = f"; the first reason: {self.skips[0]}" if self.skips else ""
            raise ValueError(f"no pair is left to be asked in {', '.join(name for name, _ in found)}{reason}")
        self.names = [name for name, _ in found]
        if self.partial:
            left = sum(len(skip.ids) for skip in self.skips)
            rank_zero_info(f"partial: {left:,} pairs left out" + (" and a limit of images" if self.limited else ""))

    def _read(self) -> Iterator[tuple[str, Path, Contents]]:
        """One subset after another: only one file's JSON is in memory at a time."""
        found = find_subsets(Path(self.root).expanduser(), self.subsets, self.folders) if self.root else []
        if self.coco is not None and self.coco.name in {subset.name for subset in found}:
            raise ValueError(f"data.coco.name {self.coco.name} is the name of a SA-Co subset; choose another")
        for subset in found:
            yield subset.name, subset.images, read_subset(subset, self.evaluated_only)
        if self.coco is not None:
            folder = Path(self.coco.images or Path(self.coco.annotations).parent)
            contents = read_coco(self.coco)
            images, turned = orient(contents.images, self.coco.exif)
            if turned:
                rank_zero_info(f"subset {self.coco.name}: {turned}")
            yield self.coco.name, folder, contents._replace(images=images)

    def _write_missing(self) -> None:
        if self.missing_list is None or (self.trainer is not None and self.trainer.global_rank):
            return
        paths = [str(path) for paths in self.missing.values() for path in paths]
        Path(self.missing_list).write_text("".join(f"{path}\n" for path in paths), encoding="utf-8")

    def test_dataloader(self) -> DataLoader:
        """This rank's images in the order of the subsets and their files."""
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)
        sampler = RankSampler([_IMAGE_COST + len(image.pairs) for image in self.images], rank, world)
        images: Any = SegDataset(self.images, self.prepare)
        if not len(sampler):  # more processes than images: Lightning refuses one without a batch
            images, sampler = [(None, [])], RankSampler(1, 0, 1)
        loader = _Collecting(
            images,
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            collate_fn=_collate,
        )
        loader.collected = self.skips
        return loader

    def transfer_batch_to_device(self, batch: SegBatch, device: torch.device, dataloader_idx: int) -> SegBatch:
        """Leaves all on the CPU: answers are keyed by pixels there, and a model takes its own square of them."""
        return batch

    def all_skips(self) -> list[Skip]:
        """What all ranks left out, each once; every rank must call it."""
        return of_all_ranks(self.skips)


def _collate(entries: list[tuple[SegItem | None, list[Skip]]]) -> SegBatch:
    return SegBatch([item for item, _ in entries if item is not None], [skip for _, skips in entries for skip in skips])
