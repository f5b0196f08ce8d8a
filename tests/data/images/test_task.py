"""Images without annotations and what is asked of them: sources, epochs, ranks, what is refused."""

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from PIL import Image

from litetext.data.images.task import TaskBatch, TaskDataModule
from litetext.data.images.unlabelled import read_unlabelled
from litetext.data.nouns.scenes import FIRST_HELD_OUT

PROMPTS = [f"{colour} {thing}" for colour in ("red", "green", "blue", "white") for thing in ("cup", "dog", "kite")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six images in two folders, and a list of prompts."""
    for n in range(6):
        place = tmp_path / "images" / ("a" if n % 2 else "b") / f"{n}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 10 + n), (40 * n, 0, 90)).save(place)
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS))
    return tmp_path


def asked(folder: Path, **options: object) -> TaskDataModule:
    given: dict[str, object] = {"prompts": str(folder / "prompts.txt"), "asked": 5, "phrases": 2, "batch_images": 2}
    data = TaskDataModule(str(folder / "images"), **{**given, "val_fraction": 0.4, "seed": 3, **options})  # type: ignore[arg-type]
    data.setup("fit")
    return data


def pairs(batches: list[TaskBatch]) -> Counter[tuple[int, int]]:
    return Counter(
        (int(batch.images[owner]), phrase)
        for batch in batches
        for owner, phrase in zip(batch.owner.tolist(), batch.index.tolist(), strict=True)
    )


def test_what_is_asked_of_an_image_is_a_function_of_its_name(folder: Path) -> None:
    images, lost = read_unlabelled(str(folder / "images"), str(folder / "prompts.txt"), None, 5)
    assert not lost
    assert [image.name for image in images] == ["a/1.png", "a/3.png", "a/5.png", "b/0.png", "b/2.png", "b/4.png"]
    assert all(len(set(image.phrases)) == 5 and set(image.phrases) <= set(PROMPTS) for image in images)
    (folder / "images/a/1.png").unlink()
    fewer, _ = read_unlabelled(str(folder / "images"), str(folder / "prompts.txt"), None, 5)
    assert fewer == images[1:]
    assert tuple(images[1].pixels().shape) == (3, 13, 20)
    Image.new("RGB", (21, 13)).save(folder / "images/a/3.png")
    again, _ = read_unlabelled(str(folder / "images"), str(folder / "prompts.txt"), None, 5)
    assert again[0].key != images[1].key, "another file under the same name is seen anew"
    assert again[0].phrases == images[1].phrases


def test_scenes_are_asked_about_themselves_and_are_held_out_of_the_benchmark() -> None:
    images, _ = read_unlabelled("nouns:3", None, None, 6)
    assert len({image.key for image in images}) == 3
    assert all(0 < image.scene < FIRST_HELD_OUT and 3 <= len(image.phrases) <= 6 for image in images)
    assert images[0].pixels().dtype == torch.uint8
    assert read_unlabelled("nouns:2", None, None, 6)[0] == images[:2]


def test_a_json_gives_images_and_phrases_without_annotations(folder: Path) -> None:
    entries = [
        {
            "id": n,
            "file_name": f"b/{2 * (n % 3)}.png",
            "text_input": PROMPTS[n],
            "height": 10 + 2 * (n % 3),
            "width": 20,
        }
        for n in range(7)
    ]
    file = folder / "subset.json"
    file.write_text(json.dumps({"images": entries}))
    images, lost = read_unlabelled(str(file), None, str(folder / "images"), 5)
    assert not lost
    assert images[0].phrases == (PROMPTS[0], PROMPTS[3], PROMPTS[6])
    assert tuple(images[1].pixels().shape) == (3, 12, 20)
    entries[0]["file_name"], entries[1]["file_name"] = "gone.png", "../b/2.png"
    file.write_text(json.dumps({"images": entries}))
    images, lost = read_unlabelled(str(file), None, str(folder / "images"), 5)
    assert len(images) == 3
    assert len(lost) == 2
    assert "../b/2.png" in lost[0]
    assert "no such file" in lost[1]
    del entries[2]["text_input"]
    file.write_text(json.dumps({"images": entries}))
    with pytest.raises(ValueError, match="entry 2 of images has no phrase in text_input"):
        read_unlabelled(str(file), None, str(folder / "images"), 5)


def test_an_epoch_asks_every_pair_once_in_another_order_each_time(folder: Path) -> None:
    data = asked(folder, batch_images=1)
    loader = data.train_dataloader()
    seen = []
    for epoch in (0, 1):
        loader.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]
        batches = list(loader)
        assert len(batches) == data.batches_per_epoch
        assert pairs(batches) == {(n, int(p)): 1 for n in data.train for p in data.queries[n]}
        seen.append([batch.index.tolist() for batch in batches])
    assert seen[0] != seen[1]
    held_out = list(data.val_dataloader())
    assert pairs(held_out) == {(n, int(p)): 1 for n in data.val for p in data.queries[n]}
    assert not {n for n, _ in pairs(held_out)} & set(data.train)
    numbers = [n for batch in held_out for n in batch.number.tolist()]
    assert len(set(numbers)) == len(numbers)


def test_a_resumed_epoch_goes_on_where_it_stopped_and_only_with_its_data(folder: Path) -> None:
    data = asked(folder)
    whole = [batch.number.tolist() for batch in data.train_dataloader()]
    begun = asked(folder)
    walk = iter(begun.train_dataloader())
    first = [next(walk).number.tolist() for _ in range(2)]
    state = begun.state_dict()
    assert state["done"] == 2
    later = asked(folder)
    later.load_state_dict(state)
    assert first + [batch.number.tolist() for batch in later.train_dataloader()] == whole
    assert asked(folder, asked=4).digest != data.digest


def test_processes_share_an_epoch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts, alone = [], asked(folder, batch_images=2)
    for rank in (0, 1):
        data = asked(folder, batch_images=1)
        monkeypatch.setattr(data, "_rank", lambda rank=rank: (rank, 2))
        parts.append(list(data.train_dataloader()))
    assert pairs(parts[0] + parts[1]) == pairs(list(alone.train_dataloader()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompts": None}, "name what is asked of its images: --data.prompts PATH"),
        ({"image_folder": "x"}, "is no JSON; leave it out"),
        ({"phrases": 0}, "data.phrases is 0"),
        ({"val_fraction": 1.0}, "data.val_fraction is 1.0"),
        ({"val_fraction": 0.001}, "0 held out"),
    ],
)
def test_options_that_make_no_sense_are_refused(folder: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        asked(folder, **options)


def test_sources_that_are_not_there_and_images_that_are_none(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing is there; give nouns:N"):
        read_unlabelled(str(folder / "nowhere"), None, None, 5)
    with pytest.raises(ValueError, match="give a number of scenes"):
        read_unlabelled("nouns:many", None, None, 5)
    with pytest.raises(ValueError, match="says itself what is asked"):
        read_unlabelled("nouns:3", str(folder / "prompts.txt"), None, 5)
    (folder / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no image"):
        read_unlabelled(str(folder / "empty"), str(folder / "prompts.txt"), None, 5)
    (folder / "images/a/broken.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"1 images of data.images .* cannot be used: .*broken.png"):
        asked(folder)
    assert len(asked(folder, skip_unusable_images=True).images) == 6
