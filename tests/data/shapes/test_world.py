"""The world of shapes: what is painted, what is said of it, and what the batches hold."""

import random
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from litetext.data.shapes.datamodule import ShapesDataModule
from litetext.data.shapes.phrases import HELD_OUT, VALUES, ShapeAttributes, about_shapes, say
from litetext.data.shapes.world import SIZE, draw_phrases, draw_scene, phrases, render
from litetext.tokenizer import END, START, Tokenizer

SEEDS = st.integers(0, 2**40)
# Words that only one value can have brought into a phrase.
WORDS = {
    "colour": {name: {name} for name in VALUES["colour"] if name not in ("purple", "white")} | {"purple": {"violet"}},
    "pattern": {"striped": {"striped", "stripes"}, "dotted": {"dotted", "spotted", "dots", "spots"}},
    "size": {"small": {"small", "little", "tiny"}, "large": {"large", "big", "huge"}},
}


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_scenes_are_reproducible_and_their_shapes_apart(seed: int) -> None:
    scene = draw_scene(seed)
    assert scene == draw_scene(seed)
    assert 1 <= len(scene.shapes) <= 6
    masks = np.stack([shape.mask() for shape in scene.shapes])
    assert masks.sum(0).max() == 1, "shapes overlap"
    for shape, mask in zip(scene.shapes, masks, strict=True):
        assert not (mask[0] | mask[-1] | mask[:, 0] | mask[:, -1]).any(), "a shape touches the border"
        assert mask.sum() > 60
        assert shape.values.held_out is False


@settings(max_examples=10, deadline=None)
@given(SEEDS)
def test_pictures_show_the_colours(seed: int) -> None:
    scene = draw_scene(seed)
    image = render(scene)
    assert image.shape == (SIZE, SIZE, 3)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, render(scene))
    for shape in scene.shapes:
        red, _, blue = np.median(image[shape.mask()].astype(float), axis=0)
        if shape.values.pattern == "plain" and shape.values.colour in ("red", "orange", "yellow"):
            assert red > blue + 60
        if shape.values.pattern == "plain" and shape.values.colour == "blue":
            assert blue > red + 60


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_phrases_mean_what_they_target(seed: int) -> None:
    scene = draw_scene(seed)
    for phrase in draw_phrases(scene, 12, random.Random(seed)):
        asked = {name: value for name, value in phrase.meaning._asdict().items() if value is not None}
        fits = [i for i, s in enumerate(scene.shapes) if all(getattr(s.values, n) == v for n, v in asked.items())]
        assert list(phrase.targets) == fits
        said = set(phrase.text.split())
        for name, values in WORDS.items():
            for value, words in values.items():
                if said & words and (value, "with white stripes") != ("white", phrase.text[-18:]):
                    assert asked.get(name) == value, phrase


def test_half_of_the_phrases_are_negative_and_most_are_confusable() -> None:
    rng = random.Random(0)
    found = [(scene, p) for scene in map(draw_scene, range(150)) for p in draw_phrases(scene, 6, rng)]
    negative = [(scene, p) for scene, p in found if not p.targets]
    assert 0.4 < len(negative) / len(found) < 0.6

    def near(scene: object, meaning: ShapeAttributes) -> bool:
        return any(
            sum(v is not None and v != its for v, its in zip(meaning, s.values, strict=True)) == 1
            for s in scene.shapes  # type: ignore[attr-defined]
        )

    assert sum(near(scene, p.meaning) for scene, p in negative) > 0.9 * len(negative)
    assert all(p.targets for p in draw_phrases(found[0][0], 30, rng, negatives=0.0))


@pytest.mark.parametrize("held_out", [False, True])
def test_the_corpus_of_phrases(held_out: bool) -> None:
    found = phrases(600, seed=3, held_out=held_out)
    assert len(set(found)) == 600
    assert found == phrases(600, seed=3, held_out=held_out)
    assert found[:50] != phrases(50, seed=4, held_out=held_out)
    rows = Tokenizer(32, overflow="error").encode(found)
    assert all(row[0] == START and row[-1] == END for row in rows)
    if not held_out:
        assert max(map(len, rows)) > 14, "the ablations on context need long phrases"


def test_more_phrases_than_the_grammar_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("litetext.data.shapes.phrases.say", lambda meaning, rng: meaning.kind or "shape")
    with pytest.raises(ValueError, match="only 7 of 8 phrases"):
        phrases(8)


def test_held_out_combinations_stay_out_of_training() -> None:
    seen = {(s.values.colour, s.values.kind, s.values.pattern) for n in range(400) for s in draw_scene(n).shapes}
    assert len(seen) > 100
    assert not seen & HELD_OUT
    shown = {(s.values.colour, s.values.kind, s.values.pattern) for n in range(400) for s in draw_scene(n, True).shapes}
    assert shown & HELD_OUT


def test_one_meaning_has_many_phrases() -> None:
    rng, meaning = random.Random(0), ShapeAttributes("red", "circle", None, "striped")
    said = {say(meaning, rng) for _ in range(300)}
    assert any("red striped" in text for text in said)
    assert any("striped red" in text for text in said)
    assert any(text.startswith("an ") or text.startswith("a ") for text in said)
    assert len(said) > 50


def test_batches_hold_the_targets_of_their_phrases() -> None:
    data = ShapesDataModule(steps=3, images=2, phrases=5, val_images=4, val_phrases=3)
    batches = list(data.train_dataloader())
    assert len(batches) == 3
    for batch in batches:
        assert batch.pixels.shape == (2, 3, SIZE, SIZE)
        assert float(batch.pixels.min()) >= -1
        assert float(batch.pixels.max()) <= 1
        assert batch.image.tolist() == [0] * 5 + [1] * 5
        assert batch.owner.tolist() == sorted(batch.owner.tolist())
        for mask, (cx, cy, w, h) in zip(batch.masks, batch.boxes, strict=True):
            rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
            edges = torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).double() / SIZE
            torch.testing.assert_close(torch.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]).double(), edges)
        # A cell's colour is that of the shape which fills it.
        named = batch.meaning[batch.owner]
        for mask, image, meaning in zip(batch.masks, batch.image[batch.owner], named, strict=True):
            full = torch.nn.functional.avg_pool2d(mask[None].float(), 8)[0] > 0.99
            for attribute, value in enumerate(meaning.tolist()):
                if value < list(map(len, VALUES.values()))[attribute]:
                    assert (batch.cells[image, attribute][full] == value).all()
    held_out = list(data.val_dataloader())
    assert [len(batch.image) for batch in held_out] == [6, 6]
    assert sum(len(batch.image) for batch in ShapesDataModule(images=6, val_images=10).val_dataloader()) == 40
    numbers = torch.cat([batch.number for batch in [*batches, *held_out]])
    assert len(numbers.unique()) == len(numbers)


def test_a_resumed_loader_goes_on_with_the_next_batch() -> None:
    whole = list(ShapesDataModule(steps=4, images=1).train_dataloader())
    data = ShapesDataModule(steps=4, images=1)
    data.load_state_dict({"done": 3})
    rest = list(data.train_dataloader())
    assert len(rest) == 1
    assert torch.equal(rest[0].pixels, whole[3].pixels)
    assert data.state_dict() == {"done": 4}


@pytest.mark.parametrize(
    ("name", "value"), [("steps", 0), ("images", 0), ("phrases", -1), ("val_images", 0), ("val_phrases", 0)]
)
def test_counts_below_one_are_refused(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"data.{name} is {value}; it must be at least 1"):
        ShapesDataModule(**{name: value})


def test_training_never_reaches_the_held_out_scenes() -> None:
    with pytest.raises(ValueError, match="leaves the numbers of training scenes"):
        ShapesDataModule(steps=1_000_000, images=1000, seed=1)


def test_phrases_about_shapes_are_told_from_others() -> None:
    said = [phrase for phrase in phrases(2000, seed=3) if not re.search(r"\b(shape|object|thing|figure)s?\b", phrase)]
    assert about_shapes(said)
    assert about_shapes(phrases(500, held_out=True))
    assert not any(about_shapes([phrase]) for phrase in ("dog", "red apple", "white", "object", "ring of a planet", ""))
    assert not about_shapes(["white ring", "dog"])
