"""New phrases of a corpus's own words: none held out, none known, the same for the same seed."""

from pathlib import Path
from typing import Any

import pytest

from litetext.data.prompts.augment import recombine
from litetext.data.prompts.corpora import split_prompts
from litetext.data.prompts.datamodule import PromptDataModule
from litetext.tokenizer import Tokenizer

COLOURS = ("red", "white", "blue", "green", "wooden", "small", "old", "striped")
NOUNS = ("dog", "table", "umbrella", "shirt", "car", "cat", "cup", "boat")
PROMPTS = [f"{colour} {noun}" for k, colour in enumerate(COLOURS) for noun in NOUNS[k % 3 :: 2]]
LONG = ["the woman holding a red umbrella", "two old cups on a wooden table", "dog"]


def ready(folder: Path, **options: Any) -> PromptDataModule:
    place = folder / "prompts.txt"
    place.write_text("\n".join([*PROMPTS, *LONG]))
    data = PromptDataModule({"own": str(place)}, **({"val_fraction": 0.3, "batch_size": 4, "seed": 1} | options))
    data.setup("fit")
    return data


def test_phrases_are_new_and_of_the_prompts_own_words() -> None:
    prompts = [*PROMPTS, *LONG]
    made = recombine(prompts, 30, 0)
    assert len(set(made)) == 30
    assert not set(made) & set(prompts)
    words = {word for prompt in prompts for word in prompt.split()}
    assert all(set(phrase.split()) <= words for phrase in made)
    assert any(phrase.startswith("the woman holding a ") or " holding a " in phrase for phrase in made)
    assert recombine(prompts, 30, 0) == made
    assert recombine(prompts, 30, 1) != made
    assert recombine(prompts, 10, 0) == made[:10], "more phrases come behind the others"


def test_what_is_refused_is_not_made_and_few_words_give_few() -> None:
    made = recombine(PROMPTS, 20, 0, lambda phrase: "dog" in phrase)
    assert made
    assert not any("dog" in phrase for phrase in made)
    assert sorted(recombine(["white dog", "small zebra"], 9, 0)) == ["small dog", "white zebra"]
    assert recombine(["dog", "cat", "left of it"], 9, 0) == []
    assert recombine([], 9, 0) == []


def test_new_phrases_are_not_too_long_where_that_is_an_error(tmp_path: Path) -> None:
    place = tmp_path / "prompts.txt"
    modifiers = ("red", "bright yellow", "small")
    place.write_text("\n".join(f"{a} {b} dog\n{a} cat\n{b} stop sign" for a in modifiers for b in modifiers))
    data = PromptDataModule({"own": str(place)}, 7, "error", augment=2.0, val_fraction=0.2, seed=1)
    data.setup("fit")
    made = [data.prompts[i] for i in data.train if data.prompts[i] not in place.read_text().split("\n")]
    assert len(made) > 5
    assert max(map(len, Tokenizer(99).encode(made))) <= 7


def test_a_run_trains_on_them_and_holds_out_what_it_held_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plain = ready(tmp_path)
    with caplog.at_level("INFO"):
        more = ready(tmp_path, augment=0.5)
    wanted = round(0.5 * len(plain.train))
    assert [more.prompts[i] for i in more.val] == [plain.prompts[i] for i in plain.val]
    assert more.train[: len(plain.train)].tolist() == plain.train.tolist()
    made = [more.prompts[i] for i in more.train[len(plain.train) :]]
    assert 0 < len(made) <= wanted
    assert split_prompts(made, 0.3)[1] == [], "a run that held them out would have been given another split"
    train = {word for i in plain.train for word in plain.prompts[i].split()}
    assert all(set(phrase.split()) <= train for phrase in made)
    (line,) = [line for line in caplog.text.splitlines() if line.startswith("augment ")]
    assert line.split()[-3:-1] == [str(wanted), str(len(made))]
    kept = [tuple(more.permuted.get(int(i), ())) for i in more.val]
    rows = [tuple(more.rows[i]) for i in more.train]
    assert len({tuple(row) for row in more.rows}) == len(more.rows)
    assert not set(rows) & {row for row in kept if row}, "no permutation of a held-out prompt is trained on"
    assert len(more.feature_rows()) == len(more.rows) + sum(bool(row) for row in kept)
    moved = [int(i) for i in more.train[len(plain.train) :] if int(i) in more.permuted]
    assert moved
    assert all(sorted(more.permuted[i]) == sorted(more.rows[i]) for i in moved)
    seen = {int(i) for batch in more.train_dataloader() for i in batch.index}
    assert seen & set(range(len(plain.rows), len(more.rows)))


def test_the_seed_decides_which(tmp_path: Path) -> None:
    one, again, other = (ready(tmp_path, augment=0.5, seed=seed) for seed in (1, 1, 2))
    assert one.digest == again.digest != other.digest
    again.load_state_dict(one.state_dict())


@pytest.mark.parametrize("name", ["augment", "inverse_frequency"])
def test_shares_and_powers_are_checked(name: str) -> None:
    for value in (-0.1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=rf"data\.{name} is {value}; it must be 0 or more"):
            PromptDataModule({"shapes": "shapes:50"}, **{name: value})
