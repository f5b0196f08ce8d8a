"""The language probes: every pair means what it says, differs in one thing, and is read as it is written."""

from itertools import islice
from pathlib import Path

import pytest

from litetext.data.images.datamodule import SegDataModule
from litetext.data.nouns.lexicon import meanings
from litetext.data.nouns.probes import LANGUAGES, PROBES, draw_probes, write_probes
from litetext.data.nouns.scenes import FIRST_HELD_OUT
from litetext.data.nouns.sheet import core, nouns

FEW = 8
DIFFERENT = ("word order", "attribute swap", "negation", "misleading")


@pytest.fixture(scope="module")
def drawn():
    return {name: list(islice(draw_probes(name, 0), FEW)) for name in (*PROBES, *LANGUAGES)}


def test_pairs_mean_other_objects_or_the_same(drawn) -> None:
    for name, probes in drawn.items():
        for probe in probes:
            assert probe.first.targets
            assert probe.first.text != probe.second.text
            if name in DIFFERENT:
                assert not set(probe.first.targets) & set(probe.second.targets)
            else:
                assert probe.first.targets == probe.second.targets
    assert not any(probe.second.targets for name in DIFFERENT if name != "negation" for probe in drawn[name])
    assert all(probe.second.targets for probe in drawn["negation"])


def test_pairs_differ_in_one_thing(drawn) -> None:
    for name in ("word order", "attribute swap"):
        for probe in drawn[name]:  # the same words in another order
            assert sorted(probe.first.text.replace("an ", "a ").split()) == sorted(
                probe.second.text.replace("an ", "a ").split()
            )
    for probe in drawn["negation"]:
        assert probe.first.text.replace(" with ", " without ", 1) == probe.second.text
    for probe in drawn["capitals"]:
        assert probe.first.text.upper() == probe.second.text
    for probe in drawn["typo"]:
        assert sorted(probe.first.text) == sorted(probe.second.text)
        assert sum(a != b for a, b in zip(probe.first.text, probe.second.text, strict=True)) == 2
        assert probe.second.text not in meanings()


def test_what_is_asked_is_there(drawn) -> None:
    for name, probes in drawn.items():
        for probe in probes:
            assert probe.scene.number >= 2 * FIRST_HELD_OUT
            assert all(sprite.noun < core() for sprite in probe.scene.sprites)
            if name in ("plural", "typo", "capitals", "synonym", "category", *LANGUAGES, "misleading"):
                named = meanings()[probe.first.text]
                there = tuple(k for k, sprite in enumerate(probe.scene.sprites) if sprite.noun in named)
                assert probe.first.targets == there
            if name == "word order":
                texts = probe.first.text
                (k,) = probe.first.targets[:1]
                other = next(s for s in probe.scene.sprites if texts.endswith(nouns()[s.noun].name))
                sprite = probe.scene.sprites[k]
                gap = {"left": other.x - sprite.x, "right": sprite.x - other.x, "above": other.y - sprite.y}
                gap["below"] = -gap["above"]
                assert next(value for word, value in gap.items() if f" {word} " in f" {texts} ") > 0 or len(
                    {s.noun for s in probe.scene.sprites}
                ) < len(probe.scene.sprites)


def test_they_are_read_as_silver(tmp_path: Path, drawn) -> None:
    made = write_probes(tmp_path / "probes", 2)
    assert made.pairs == {"probes": 2 * 2 * len(PROBES), "languages": 2 * 2 * len(LANGUAGES)}
    data = SegDataModule(root=str(made.folder), subsets=["probes", "languages"])
    data.setup("test")
    pairs = [pair for image in data.images for pair in image.pairs]
    asked = [(name, probe) for name in (*PROBES, *LANGUAGES) for probe in drawn[name][:2]]
    wanted = [(name, question) for name, probe in asked for question in (probe.first, probe.second)]
    assert [(p.kind, p.phrase, len(p.truths[0].boxes)) for p in pairs] == [
        (name, q.text, len(q.targets)) for name, q in wanted
    ]
    for first, second in zip(pairs[::2], pairs[1::2], strict=True):
        assert (first.twin, second.twin) == (second.id, first.id)
        assert len(first.truths) == 1
    assert not write_probes(tmp_path / "probes", 2).written
    with pytest.raises(ValueError, match=r"holds probes with other options"):
        write_probes(tmp_path / "probes", 3)


def test_a_root_without_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match=r"data.root is 'probes:'; give a number of pairs a probe, as probes:40"):
        SegDataModule(root="probes:")
