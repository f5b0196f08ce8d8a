"""The benchmark of nouns: what is written, that it means what it says, and that it is read as SA-Co Gold."""

import json
import random
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask

from litetext.data.images.datamodule import SegDataModule
from litetext.data.nouns.gold import BESIDE, PAIRS, SUBSETS, Annotator, draw_items, near_misses, write_nouns
from litetext.data.nouns.meaning import find
from litetext.data.nouns.phrases import draw_phrases
from litetext.data.nouns.render import render
from litetext.data.nouns.scenes import FIRST_HELD_OUT, draw_scene
from litetext.data.nouns.sheet import core, nouns

IMAGES = 6


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_nouns(tmp_path_factory.mktemp("benchmark") / "nouns", IMAGES).folder


@pytest.fixture(scope="module")
def drawn() -> dict[str, list[Any]]:
    return {subset: list(islice(draw_items(subset, 0), IMAGES)) for subset in SUBSETS}


def test_the_data_module_reads_all_of_it(root: Path, drawn: dict[str, list[Any]]) -> None:
    data = SegDataModule(root=str(root), subsets="all", evaluated_only=False)
    data.setup("test")
    assert sorted(data.names) == sorted(SUBSETS)
    assert sorted(data.beside) == sorted(BESIDE)
    assert len(SUBSETS) - len(BESIDE) == 7
    assert data.pairs == len(SUBSETS) * IMAGES * PAIRS
    items = [item for batch in data.test_dataloader() for item in batch.items]
    assert (data.partial, data.skips, data.missing) == (False, [], {})
    for subset, scenes in drawn.items():
        mine = [item for item in items if item.subset == subset]
        for item, (scene, phrases) in zip(mine, scenes, strict=True):
            np.testing.assert_array_equal(item.image.permute(1, 2, 0).numpy(), render(scene)[0])
            assert [(pair.phrase, pair.kind) for pair in item.pairs] == [(p.text, p.kind) for p in phrases]


def test_half_of_the_phrases_are_true(drawn: dict[str, list[Any]]) -> None:
    for scenes in drawn.values():
        for scene, phrases in scenes:
            assert len({phrase.meaning for phrase in phrases}) == PAIRS
            assert sum(bool(phrase.targets) for phrase in phrases) == PAIRS // 2
            assert all(find(phrase.meaning, scene) == phrase.targets for phrase in phrases)


def test_subsets_ask_what_they_say(drawn: dict[str, list[Any]]) -> None:
    kinds = {s: Counter(p.kind for _, phrases in scenes for p in phrases) for s, scenes in drawn.items()}
    assert set(kinds["common"]) == {"noun"}
    assert set(kinds["rare"]) <= {"noun", "synonym"}
    assert set(kinds["categories"]) <= {"category", "negation"}
    assert set(kinds["attributes"]) <= {"attribute", "negation"}
    assert set(kinds["relations"]) == {"position", "relation"}
    assert set(kinds["long"]) == {"long"}
    assert len(kinds["artists"]) >= 6
    assert "open" in kinds["open"]
    assert not any("open" in found for subset, found in kinds.items() if subset != "open")
    for scene, phrases in drawn["crowded"]:
        assert len(scene.sprites) >= 5
        assert all(len(phrase.targets) != 1 for phrase in phrases)
    for _, phrases in drawn["common"]:
        assert not any(nouns()[n].rare for phrase in phrases for n in phrase.meaning.head.nouns)
    for subset, scenes in drawn.items():
        sprites = [sprite for scene, _ in scenes for sprite in scene.sprites]
        assert {sprite.style for sprite in sprites} == ({1, 2} if subset == "artists" else {0})
        said = " ".join(phrase.text for _, phrases in scenes for phrase in phrases).split()
        assert bool({"tiny", "tile", "panel", "toward", "atop", "lacking"} & set(said)) == (subset == "wordings")
        assert any(sprite.noun >= core() for sprite in sprites) == (subset == "open")


def test_scenes_are_of_no_training_and_of_one_subset_only(drawn: dict[str, list[Any]]) -> None:
    numbers = [scene.number for scenes in drawn.values() for scene, _ in scenes]
    assert min(numbers) >= 2 * FIRST_HELD_OUT
    assert len(set(numbers)) == len(numbers)
    assert not {scene.number for scene, _ in islice(draw_items("common", 1), 2)} & set(numbers)


def test_annotators_mark_what_is_meant_and_disagree_a_little(root: Path, drawn: dict[str, list[Any]]) -> None:
    coder: Any = mask
    overlaps, different, incomplete = [], 0, 0
    for subset, scenes in drawn.items():
        contents = [json.loads((root / f"gold_{subset}_merged_{a}_release_test.json").read_text()) for a in "abc"]
        asked = [(scene, phrase) for scene, phrases in scenes for phrase in phrases]
        said: list[list[int]] = []
        for content in contents:
            marks = Counter(mark["image_id"] for mark in content["annotations"])
            said.append([marks[entry["id"]] for entry in content["images"]])
            incomplete += sum(not entry["is_instance_exhaustive"] for entry in content["images"])
            for mark in content["annotations"]:
                scene, _ = asked[mark["image_id"] - 10_000_000]
                pixels = coder.decode(mark["segmentation"]).astype(bool)
                truth = render(scene)[1]
                iou = max((pixels & m).sum() / (pixels | m).sum() for m in truth)
                overlaps.append(iou)
                x, y, width, height = np.asarray(mark["bbox"]) * 112
                assert pixels[round(y) : round(y + height), round(x) : round(x + width)].sum() == pixels.sum()
                assert mark["area"] == pixels.mean()
        right = [len(phrase.targets) for _, phrase in asked]
        for counts in said:
            assert np.mean(np.asarray(counts) == right) > 0.85
        different += sum(len(set(counts)) > 1 for counts in zip(*said, strict=True))
    assert 0.85 < np.mean(overlaps) < 0.999
    assert min(overlaps) > 0.5
    assert 0 < different < 0.2 * len(SUBSETS) * IMAGES * PAIRS
    assert 0 < incomplete < 0.06 * 3 * len(SUBSETS) * IMAGES * PAIRS


def test_an_annotators_view_is_the_same_for_every_phrase() -> None:
    scene = draw_scene(5, split="test")
    first, again = Annotator("a", scene), Annotator("a", scene)
    assert all((one == other).all() for one, other in zip(first.masks, again.masks, strict=True))
    phrases = draw_phrases(scene, 20, random.Random(0), split="test")
    assert [first.answer(p) for p in phrases] == [again.answer(p) for p in phrases]
    assert all(not set(near_misses(p, scene)) & set(p.targets) for p in phrases)


def test_it_is_written_once_and_over_nothing_else(root: Path, tmp_path: Path) -> None:
    made = write_nouns(root, IMAGES)
    assert not made.written
    assert made.pairs == dict.fromkeys(SUBSETS, IMAGES * PAIRS)
    with pytest.raises(
        ValueError, match=r"holds nouns with other options \(images 6, seed 0\), asked for are images 7"
    ):
        write_nouns(root, 7)
    with pytest.raises(ValueError, match="images is 100001; it must be from 1 to 100000"):
        write_nouns(tmp_path / "x", 100_001)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "shapes.json").write_text("{}")
    with pytest.raises(ValueError, match="holds no nouns benchmark; name another folder"):
        write_nouns(tmp_path / "mine", 1)


@pytest.mark.parametrize("wanted", ["nouns:", "nouns:0", "nouns:-4", "nouns:x"])
def test_a_root_without_a_number_is_refused(wanted: str) -> None:
    with pytest.raises(ValueError, match=r"data.root is 'nouns:.*'; give a number of images a subset, as nouns:40"):
        SegDataModule(root=wanted)
