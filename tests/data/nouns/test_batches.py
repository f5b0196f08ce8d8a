"""Batches of nouns: what they say of images and phrases is what the scenes and meanings say."""

import random
from dataclasses import replace

import pytest
import torch

from litetext.data.nouns import Meaning, Thing, core, draw_phrases, draw_scene, meanings, nouns, render
from litetext.data.nouns.batches import KIND_NAMES, OBJECTS, ROLES, TEXT_VALUES, collate, noun_table
from litetext.data.nouns.datamodule import HeldOutNouns, NounsDataModule, NounsDataset, Stages, mixture
from litetext.data.nouns.phrases import KINDS, Phrase
from litetext.data.nouns.scenes import FIRST_HELD_OUT
from litetext.data.nouns.strangers import estrange, strangers
from litetext.tokenizer import Tokenizer


def test_a_batch_says_what_the_scenes_say() -> None:
    scenes = [draw_scene(number) for number in (3, 4)]
    said = [draw_phrases(scene, 12, random.Random(5)) for scene in scenes]
    batch = collate(scenes, said, Tokenizer(32))
    flat = [(b, phrase) for b, phrases in enumerate(said) for phrase in phrases]
    assert batch.image.tolist() == [b for b, _ in flat]
    assert batch.positive.tolist() == [n for n, (_, phrase) in enumerate(flat) if phrase.targets]
    assert [KIND_NAMES[k] for k in batch.kind] == [phrase.kind for _, phrase in flat]
    assert batch.images.min() >= -1
    assert batch.images.max() <= 1
    painted = [render(scene) for scene in scenes]
    for row, (owner, place) in enumerate(zip(batch.owner.tolist(), batch.place.tolist(), strict=True)):
        b, phrase = flat[owner]
        assert place // OBJECTS == b
        assert place % OBJECTS in phrase.targets
        mask = torch.from_numpy(painted[b][1][place % OBJECTS])
        assert torch.equal(batch.masks[row], mask)
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        left, top, right, bottom = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
        box = torch.stack([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]) / 112
        torch.testing.assert_close(batch.boxes[row], box)
    for n, (b, phrase) in enumerate(flat):
        sprites = scenes[b].sprites
        roles = dict(zip(ROLES, batch.roles[n], strict=True))
        assert roles["target"].nonzero()[:, 0].tolist() == list(phrase.targets)
        assert roles["anchor"].nonzero()[:, 0].tolist() == list(phrase.anchors)
        assert roles["noun"].tolist()[: len(sprites)] == [s.noun in phrase.meaning.head.nouns for s in sprites]
        assert not (roles["described"] & ~roles["noun"]).any()
        said_of = dict(zip(TEXT_VALUES, batch.text_values[n].tolist(), strict=True))
        assert (said_of["relation"] == TEXT_VALUES["relation"] - 1) is (phrase.meaning.relation is None)
        assert (said_of["count"] == TEXT_VALUES["count"] - 1) is (phrase.meaning.number is None)
        assert bool(said_of["bw"]) is phrase.meaning.head.bw
        meant = noun_table()[batch.words[n, 0]].nonzero()[:, 0].tolist()
        assert set(meant) == {k for k in meanings()[phrase.meaning.head.word] if k < core()}


def test_the_text_stage_paints_nothing_and_the_vision_stage_says_nothing() -> None:
    data = NounsDataset(Stages(1, 1, 1), images=3, phrases=4, seed=0, strangers=0.0)
    vision, text, joint = (data[step] for step in range(3))
    assert (len(vision.pixels), len(vision.image)) == (3, 0)
    assert (len(text.pixels), len(text.image), len(text.owner)) == (0, 12, 0)
    assert (len(joint.pixels), len(joint.image)) == (3, 12)
    assert (text.words[:, 0] >= 0).all()
    assert len({int(n) // 100 for batch in (text, joint) for n in batch.number}) == 6  # no scene twice


def test_training_is_a_function_of_the_step_and_never_meets_what_is_held_out() -> None:
    data = NounsDataset(Stages(0, 0, 4), images=2, phrases=6, seed=1, strangers=0.5)
    one, again = data[2], data[2]
    assert torch.equal(one.pixels, again.pixels)
    assert torch.equal(one.tokens.ids, again.tokens.ids)
    assert int(one.number.max()) < FIRST_HELD_OUT
    assert int(HeldOutNouns(1, 2, 4)[0].number.min()) >= FIRST_HELD_OUT


def test_the_mixture_ends_in_the_usual_one() -> None:
    assert mixture(1.0) == pytest.approx(dict(KINDS))
    assert mixture(0.0)["long"] == 0
    for done in (0.0, 0.2, 0.7):
        assert sum(mixture(done).values()) == pytest.approx(1, abs=0.06)


def test_strangers_name_nothing_that_is_drawn_or_held_out() -> None:
    named = {word for noun in nouns() for word in noun.words} | set(meanings())
    assert len(strangers()) == len(set(strangers())) > 1000
    assert not set(strangers()) & named


def test_an_estranged_phrase_means_nothing() -> None:
    meaning = Meaning(Thing("dog", frozenset({3}), "large", "red"))
    phrase = Phrase("large dogs on a red card", "attribute", (1,), meaning)
    odd = estrange(phrase, random.Random(0))
    assert odd is not None
    assert odd.targets == ()
    assert odd.text.startswith("large ")
    assert odd.text.endswith(" on a red card")
    assert "dog" not in odd.text
    assert odd.meaning.head.nouns == frozenset()
    assert estrange(replace(phrase, text="a dog and a dog"), random.Random(0)) is None


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"steps": 0}, "data.steps is 0"),
        ({"vision_steps": -1}, "data.vision_steps is -1"),
        ({"strangers": 1.0}, "data.strangers is 1.0"),
        ({"seed": 10**9}, "data.seed"),
    ],
)
def test_bad_options_are_refused(options: dict[str, int], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        NounsDataModule(**options)  # type: ignore[arg-type]
