"""The world of nouns: sheet, scenes, renderer, grammar."""

import hashlib
import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litetext.data.nouns import (
    FIRST_HELD_OUT,
    KINDS,
    SIZE,
    Background,
    Scene,
    Sprite,
    boxes,
    colourless,
    core,
    draw_phrases,
    draw_scene,
    find_noun,
    find_style,
    held_out,
    list_phrases,
    meanings,
    nouns,
    render,
)
from litetext.data.nouns.wording import CARD, COUNTS, ENDINGS, OPENINGS, OUTLINE_AFTER, RELATIONS, SIZES
from litetext.data.prompts.corpora import read_prompts
from litetext.tokenizer import Tokenizer

_GOLDEN = "77b878b57b61f061c73adb5210331de344bf2f3846d9e747988c87b0319fddb1"


def _flat(sprites: list[Sprite]) -> Scene:
    return Scene(0, tuple(sprites), Background((100, 100, 100), (100, 100, 100), 0, "plain", 0, 0, 0))


@pytest.fixture(scope="module")
def drawn():
    return [
        (scene, phrase)
        for number in range(700)
        for scene in [draw_scene(number)]
        for phrase in draw_phrases(scene, 4, random.Random(number))
    ]


def test_scenes_are_the_same_on_every_machine():
    digest = hashlib.sha256()
    for number in (0, 1, 2, 77, FIRST_HELD_OUT):
        scene = draw_scene(number, styles=(0, "noto", 2), split="test")
        image, masks = render(scene)
        said = draw_phrases(scene, 6, random.Random(number), split="test")
        digest.update(image.tobytes() + masks.tobytes() + "|".join(p.text for p in said).encode())
        assert draw_scene(number, styles=(0, 1, 2), split="test") == scene
    assert digest.hexdigest() == _GOLDEN


def test_masks_are_what_the_image_shows_of_each_sprite():
    for number in range(40):
        scene = draw_scene(number)
        image, masks = render(scene)
        assert image.dtype == np.uint8
        assert masks.shape == (len(scene.sprites), SIZE, SIZE)
        assert masks.sum(0).max() == 1
        assert masks.any((1, 2)).all()
        for k, sprite in enumerate(scene.sprites):  # without it, only its pixels, its edge, card and outline change
            without, _ = render(replace(scene, sprites=tuple(s for s in scene.sprites if s is not sprite)))
            changed = (image != without).any(-1)
            assert changed[masks[k]].mean() > 0.9
            assert not changed[masks[np.arange(len(masks)) != k].any(0)].any()
        for box, mask in zip(boxes(masks), masks, strict=True):
            left, top, right, bottom = box
            assert mask[top:bottom, left:right].sum() == mask.sum()
            assert mask[top].any()
            assert mask[:, right - 1].any()


def test_nearer_sprites_hide_those_behind_them_and_borders_cut():
    dog, sun = find_noun("dog"), find_noun("sun")
    alone = render(_flat([Sprite(dog, 0, 40, 40, 40)]))[1][0]
    masks = render(_flat([Sprite(dog, 0, 40, 40, 40), Sprite(sun, 0, 50, 40, 40)]))[1]
    assert not (masks[0] & masks[1]).any()
    assert 0 < masks[0].sum() < alone.sum()
    carded = render(_flat([Sprite(dog, 0, 40, 40, 40), Sprite(sun, 0, 50, 40, 40, card="red")]))[1]
    assert carded[0].sum() < masks[0].sum()
    assert carded[1].sum() == masks[1].sum()
    assert 0 < render(_flat([Sprite(dog, 0, 0, 40, 40)]))[1].sum() < alone.sum()
    far = [(-60, 40), (40, 400), (140, 40), (40, -200), (500, -500), (-28, 60)]
    gone = render(_flat([Sprite(dog, 0, x, y, 40) for x, y in far]))[1]
    assert not gone.any()
    assert not boxes(gone).any()


def test_attributes_can_be_seen():
    dog = Sprite(find_noun("dog"), 0, 56, 56, 40)
    image, (mask,) = render(_flat([replace(dog, card="blue")]))
    assert (image[36, 36] == (40, 90, 220)).all()
    image, (mask,) = render(_flat([replace(dog, outline="yellow")]))
    around = np.roll(mask, 1, 0) & ~mask
    assert np.abs(image[around].astype(int) - (250, 215, 50)).mean() < 40
    image, (mask,) = render(_flat([replace(dog, bw=True)]))
    inside = image[mask & np.roll(mask, 1, 0) & np.roll(mask, -1, 0) & np.roll(mask, 1, 1) & np.roll(mask, -1, 1)]
    assert (inside.max(-1) - inside.min(-1)).max() <= 1
    small, large = (boxes(render(_flat([replace(dog, size=size, angle=0)]))[1])[0] for size in (22, 44))
    assert np.abs((large[2:] - large[:2]) / (small[2:] - small[:2]) - 2).max() < 0.15


def _sees(meaning, scene, position):
    """Whether the sprite is meant, from the definitions in words, case by case and without the module's functions."""
    sprite = scene.sprites[position]

    def like(thing, other):
        known = [n for n, noun in enumerate(nouns()) if thing.word in (*noun.words, *noun.categories)]
        if meaning.excluded is not None and thing is meaning.head:
            known = [n for n in known if meaning.excluded.word not in (*nouns()[n].words, *nouns()[n].categories)]
        return (
            other.noun in known
            and thing.size in (None, "small" if other.size < 31 else "large")
            and thing.card in (None, other.card)
            and thing.outline in (None, other.outline)
            and (not thing.bw or other.bw)
            and not (thing.without == "card" and other.card)
            and not (thing.without == "outline" and other.outline)
            and not (thing.without == "bw" and other.bw)
        )

    def stands(other):
        dx, dy = sprite.x - other.x, sprite.y - other.y
        angle = np.degrees(np.arctan2(dy, dx))  # 0 is to the right, 90 below
        toward = {"right": 0, "below": 90, "left": 180, "above": -90}
        if meaning.relation == "next":
            return np.hypot(dx, dy) < 50
        return abs((angle - toward[meaning.relation] + 180) % 360 - 180) < 45

    if not like(meaning.head, sprite):
        return False
    if meaning.anchor is not None:
        others = [s for k, s in enumerate(scene.sprites) if k != position]
        if not any(like(meaning.anchor, other) and stands(other) for other in others):
            return False
    rivals = [s for s in scene.sprites if like(meaning.head, s)]
    match meaning.head.position:
        case None:
            return True
        case "left":
            return sprite.x < 56
        case "right":
            return sprite.x > 56
        case "top":
            return sprite.y < 56
        case "bottom":
            return sprite.y > 56
        case "leftmost":
            return sprite.x == min(s.x for s in rivals)
        case "rightmost":
            return sprite.x == max(s.x for s in rivals)
        case "topmost":
            return sprite.y == min(s.y for s in rivals)
        case "bottommost":
            return sprite.y == max(s.y for s in rivals)


def _check_truth(scene, phrase):
    seen = tuple(k for k in range(len(scene.sprites)) if _sees(phrase.meaning, scene, k))
    if phrase.meaning.number is not None and len(seen) != phrase.meaning.number:
        seen = ()
    assert seen == phrase.targets, phrase


@given(st.integers(0, FIRST_HELD_OUT * 50), st.sampled_from(["train", "test"]), st.booleans())
@settings(max_examples=150, deadline=None)
def test_phrases_mean_what_they_say(number, split, open_nouns):
    scene = draw_scene(number, split=split, styles=(0, 1, 2), open_nouns=open_nouns and split == "test")
    for phrase in draw_phrases(scene, 6, random.Random(number), split=split):
        _check_truth(scene, phrase)


def test_every_kind_is_half_negative_and_hypernyms_too(drawn):
    kinds = Counter(phrase.kind for _, phrase in drawn)
    assert set(kinds) == set(KINDS)
    for kind, total in kinds.items():
        share = sum(not phrase.targets for _, phrase in drawn if phrase.kind == kind) / total
        assert 0.3 < share < 0.7, kind


def test_negatives_mostly_ask_for_what_is_there_elsewhere(drawn):
    hard = [(s, p.meaning) for s, p in drawn if not p.targets and p.kind in ("attribute", "relation", "long")]
    known = [
        any(s.noun in m.head.nouns or s.card == m.head.card is not None for s in scene.sprites) for scene, m in hard
    ]
    assert np.mean(known) > 0.6
    assert np.mean(known) < 0.97  # and some are easy


def test_lengths(drawn):
    lengths = np.array([len(ids) for ids in Tokenizer(64).encode([phrase.text for _, phrase in drawn])])
    assert (lengths > 8).mean() > 0.2  # start and end token included
    assert (lengths > 16).mean() > 0.05
    assert lengths.max() <= 36
    long = lengths[[phrase.kind == "long" for _, phrase in drawn]] - 2
    assert 17 <= np.median(long) <= 30


def test_training_shows_and_names_nothing_that_is_held_out(drawn):
    fresh = [
        way.split("{")[0].strip()
        for ways in (CARD, OUTLINE_AFTER, OPENINGS, ENDINGS, *SIZES.values())
        for way in ways.held_out
    ]
    fresh += ["atop", "underneath", "right by"]
    assert all(any(w in way for w in (*fresh, "has {b}")) for ways in RELATIONS.values() for way in ways.held_out)
    fresh += [way.split("{")[0].strip() for ways in COUNTS.values() for way in ways.held_out]
    unnamed = [word for noun in nouns()[core() :] for word in noun.words if len(meanings()[word]) == 1]
    for scene, phrase in drawn:
        assert all(sprite.noun < core() and sprite.style == 0 for sprite in scene.sprites)
        assert not any(held_out(s.noun, s.card) or held_out(s.noun, s.outline) for s in scene.sprites)
        for thing in (phrase.meaning.head, phrase.meaning.anchor, phrase.meaning.contrast):
            if thing is not None and len(thing.nouns) == 1:
                (noun,) = thing.nouns
                assert noun < core()
                assert not held_out(noun, thing.card)
                assert not held_out(noun, thing.outline)
        padded = f" {phrase.text} ".replace(",", " ")
        assert not any(f" {word} " in padded for word in [*fresh, *unnamed]), phrase.text


def test_test_split_adds_combinations_ways_and_open_nouns():
    scenes = [draw_scene(FIRST_HELD_OUT + n, split="test", open_nouns=True) for n in range(200)]
    sprites = [s for scene in scenes for s in scene.sprites]
    assert any(held_out(s.noun, s.card) for s in sprites)
    assert all(any(s.noun >= core() for s in scene.sprites) for scene in scenes)
    rng = random.Random(0)
    said = [p for scene in scenes for p in draw_phrases(scene, 3, rng, {"open": 1}, split="test", negatives=1)]
    assert len(said) > 500
    for phrase in said:
        assert phrase.targets == ()
        assert min(phrase.meaning.head.nouns) >= core()
    texts = [p.text for s in scenes for p in draw_phrases(s, 4, rng, {"attribute": 1, "relation": 1}, split="test")]
    assert any("tile" in text or "panel" in text for text in texts)


def test_kinds_are_weighted():
    scene = draw_scene(3)
    kinds = {p.kind for p in draw_phrases(scene, 40, random.Random(0), {"noun": 1, "attribute": 2})}
    assert kinds == {"noun", "attribute"}
    assert all(p.targets for p in draw_phrases(scene, 40, random.Random(0), {"noun": 1}, negatives=0))


def test_black_and_white_is_never_asked_of_grey_drawings(drawn):
    for scene, phrase in drawn:
        head = phrase.meaning.head
        if head.bw or head.without == "bw":
            assert not any(colourless(scene.sprites[k].style, scene.sprites[k].noun) for k in phrase.targets)
        assert not any(s.bw and colourless(s.style, s.noun) for s in scene.sprites)


def test_phrases_of_the_grammar_differ():
    found = list_phrases(400, 1)
    assert len(set(found)) == 400
    assert found == list_phrases(400, 1) != list_phrases(400, 2)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: find_noun("dgo"), "noun 'dgo' is not in the sheet of nouns; did you mean dragon or dog"),
        (lambda: find_style("emoji"), "style is 'emoji'; the sheet of nouns has fluent, noto, twemoji"),
        (lambda: draw_scene(0, styles=(3,)), "style is 3; the sheet of nouns has"),
        (lambda: draw_scene(0, objects=7), "objects is 7; it must be from 2 to 6"),
        (lambda: draw_scene(0, open_nouns=True), "need split test"),
        (lambda: draw_scene(0, split="val"), "split is 'val'"),
        (lambda: draw_phrases(draw_scene(0), 1, random.Random(0), {"verb": 1}), "kind 'verb' is unknown"),
        (lambda: draw_phrases(draw_scene(0), 1, random.Random(0), {"noun": -1}), "weight of kind 'noun' is -1"),
        (lambda: draw_phrases(draw_scene(0), 1, random.Random(0), {"noun": 0}), "all weights of kinds are 0"),
        (lambda: draw_phrases(draw_scene(0), 1, random.Random(0), {"open": 1}), "ask for split test"),
        (lambda: render(_flat([Sprite(9999, 0, 50, 50, 30)])), "noun is 9999; the sheet of nouns has 0 to"),
        (lambda: render(_flat([Sprite(0, 5, 50, 50, 30)])), "style is 5; the sheet of nouns has 0 to 2"),
        (lambda: render(_flat([Sprite(0, 0, 50, 50, 30, card="pink")])), "card is 'pink'; it must be one of red"),
    ],
)
def test_bad_inputs_are_named(call, told):
    with pytest.raises(ValueError, match=told.replace("(", r"\(")) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_the_grammar_is_a_source_of_prompts():
    source = read_prompts("nouns", "nouns:300")
    assert (source.kind, source.total, len(source.prompts), source.empty) == ("nouns", 300, 300, 0)
    assert source.prompts == list_phrases(300)
    fresh = read_prompts("nouns", "nouns:300:held_out").prompts
    assert any("tile" in text or "tiny" in text for text in fresh)
    assert not any(word in text.split() for text in source.prompts for word in ("tile", "tiny", "monochrome"))
    for path, told in {
        "nouns:0": "'nouns:0' is not understood; write nouns:N or nouns:N:held_out",
        "nouns:-5": "'nouns:-5' is not understood; write nouns:N or nouns:N:held_out",
        "nouns:many": "is not understood; write nouns:N",
        "nouns:5:test": "is not understood; write nouns:N",
        "nouns:2000000": "source 'mine': nouns:2000000: 2000000 phrases are asked for; the grammar",
    }.items():
        with pytest.raises(ValueError, match=told):
            read_prompts("mine", path)


def test_nothing_is_drawn_beyond_a_sprites_size():
    for noun in range(0, len(nouns()), 3):
        for size in (23, 41):
            sprite = Sprite(noun, 0, 56, 56, size)
            image, masks = render(_flat([sprite]))
            left, top, right, bottom = boxes(masks)[0]
            assert max(right - left, bottom - top) <= size + 1
            reach = size // 2 + 2
            changed = (image != render(_flat([]))[0]).any(-1)
            changed[56 - reach : 56 + reach, 56 - reach : 56 + reach] = False
            assert not changed.any(), nouns()[noun].name
