"""What worker processes do ahead of an evaluation of images is what the evaluation would have done."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import Sam3ImageProcessor

from litetext.data.images.datamodule import SegDataModule
from litetext.data.images.items import ImagePairs, Pair, SegItem
from litetext.models.sam3.frozen import squares
from litetext.modules.cache_key import pixels_hash
from litetext.modules.prepared import Prepare, Prepared, content_of
from litetext.modules.records import finished
from litetext.saco.instances import Instances, Truth


def served(folder: Path, workers: int, prepare: Prepare) -> list[SegItem]:
    """Two images of a datamodule, which wait for a model."""
    data = SegDataModule(str(folder), num_workers=workers)
    pair = Pair(1, "white dog", (Truth([], [], [], True),))
    for n, size in enumerate(((40, 30), (17, 60))):
        Image.effect_noise(size, 90).convert("RGB").save(folder / f"{n}.png")
        data.images.append(ImagePairs("gold", f"{n}.png", folder / f"{n}.png", *size[::-1], [pair]))
    data.prepare = prepare
    return [item for batch in data.test_dataloader() for item in batch.items]


@pytest.mark.parametrize("sam3", [True, False])
def test_workers_prepare_what_the_main_process_would(sam3: bool, tmp_path: Path) -> None:
    processor = Sam3ImageProcessor(size={"height": 32, "width": 32}) if sam3 else None
    items = served(tmp_path, 1, Prepare(processor))
    assert [item.file_name for item in items] == ["0.png", "1.png"]
    for item in items:
        assert isinstance(item.prepared, Prepared)
        assert content_of(item) == item.prepared.content == pixels_hash(item.image)
        if processor is None:
            assert item.prepared.square is None
        else:
            assert torch.equal(item.prepared.square, squares(processor, [item.image]))


def test_without_workers_nothing_is_prepared_twice(tmp_path: Path) -> None:
    items = served(tmp_path, 0, Prepare(None))
    assert [item.prepared for item in items] == [None, None]
    assert [content_of(item) for item in items] == [pixels_hash(item.image) for item in items]


def test_processes_can_be_sent_it() -> None:
    image = torch.arange(3 * 8 * 9, dtype=torch.uint8).reshape(3, 8, 9)
    prepare = Prepare(Sam3ImageProcessor(size={"height": 16, "width": 16}))
    text = pickle.dumps(prepare)
    assert len(text) < 10_000
    sent, own = pickle.loads(text)(image), prepare(image)
    assert sent.content == own.content
    assert torch.equal(sent.square, own.square)


def test_a_record_waits_for_its_threads_and_raises_what_they_raised() -> None:
    there = Instances([0.5], [[0, 0, 1, 1]], None)
    with ThreadPoolExecutor(1) as pool:
        later = pool.submit(lambda: there)
        assert finished({"a": {1: later, 2: there}}) == {"a": {1: there, 2: there}}
        with pytest.raises(ZeroDivisionError):
            finished({"a": {1: pool.submit(lambda: 1 / 0)}})  # type: ignore[dict-item]
