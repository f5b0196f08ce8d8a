"""Students in the layouts of other programs: equal there, or refused."""

import json
import resource
from pathlib import Path
from typing import Any

import pytest
import torch

from litetext.checkpoints import writing
from litetext.checkpoints.reading import open_state
from litetext.checkpoints.writing import MODEL_PREFIX
from litetext.commands.export import export as command
from litetext.commands.parsing import options
from litetext.data.prompts.corpora import PromptSource, read_prompts
from litetext.export import targets
from litetext.export.parity import parity_of, require_parity
from litetext.export.request import our_features
from litetext.export.targets import SMALL, TARGETS, WHY_SMALL, export
from litetext.export.transformers_folder import stock_features
from litetext.models.sam3.image import Sam3Image
from litetext.models.text.loading import load_text_encoder
from litetext.shipped import shipped
from litetext.tokenizer import Tokenizer
from tests.export.students import SAM3, STUDENT, checkpoint

LONG = "the very big red circle with stripes that is left of the small blue square and above the green star!"
PROMPTS = ["white dog", "red circle", "wow! a big blue square!", "", "café crème", LONG]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for key in a:
        torch.testing.assert_close(a[key], b[key], rtol=0, atol=0, msg=key)


def test_the_stock_model_finds_what_our_segmenter_finds(tmp_path: Path) -> None:
    from transformers import AutoModel, AutoProcessor, Sam3LiteTextModel, Sam3Processor

    folder = tmp_path / "exported"
    export(STUDENT, "transformers", str(folder), ["red circle", "small blue squares"])
    student = load_text_encoder(STUDENT)
    phrases = ["red circle", "blue square", "the big yellow star with stripes"]
    theirs, _ = stock_features(folder, phrases, None)
    for ours, other in zip(our_features(student, phrases), theirs, strict=True):
        torch.testing.assert_close(ours, other, rtol=0, atol=1e-5)

    processor, model = AutoProcessor.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    assert isinstance(processor, Sam3Processor)
    assert isinstance(model, Sam3LiteTextModel)
    image = (torch.rand(3, 60, 80, generator=torch.Generator().manual_seed(1)) * 255).to(torch.uint8)
    with torch.no_grad():
        found = model(**processor(images=[image] * len(phrases), text=phrases, return_tensors="pt"))
    segmenter = Sam3Image.from_pretrained(SAM3, geometry_token=False)  # transformers leaves it out without a box
    vision = segmenter.encode_images(segmenter.preprocess([image]))
    text = student.encode(phrases).take(phrases)
    ours = segmenter.detect(vision, *text)
    torch.testing.assert_close(ours.masks, found.pred_masks, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(ours.logits, found.pred_logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.presence, found.presence_logits[:, 0], rtol=1e-4, atol=1e-4)
    # The control: a table as long as the student's, and the stock processor has it resampled.
    table = model.text_encoder.embeddings.position_embedding
    table.position_embedding = torch.nn.Parameter(table.position_embedding[:, :, : student.context_length])
    with torch.no_grad():
        spoiled = model.get_text_features(**processor(text=phrases, return_tensors="pt")).pooler_output
    assert float((spoiled[0, :4] - theirs[0]).abs().max()) > 0.01


def test_what_comes_back_from_transformers_is_the_student(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "s1.ckpt")
    export(path, "transformers", str(tmp_path / "out"), ["red circle"], sam3=SAM3)
    again = load_text_encoder(tmp_path / "out")
    assert (again.padding, again.context_length) == ("masked", 16)
    same(again.state_dict(), load_text_encoder(path).state_dict())
    rest = {k: t for k, t in open_state(shipped(SAM3)).under([""]).items() if not k.startswith("text_")}
    exported = open_state(tmp_path / "out").under([""])
    same({k: exported[k] for k in rest}, {k: t.float() for k, t in rest.items()})


@pytest.mark.parametrize("repmixer", [True, False])
def test_a_student_that_sees_padding_gets_its_own_processor(tmp_path: Path, repmixer: bool) -> None:
    path = checkpoint(tmp_path / "s0.ckpt", repmixer=repmixer, padding="reference")
    folder = tmp_path / "out"
    made = export(path, "transformers", str(folder), PROMPTS)
    assert next(iter(made.parities.values())).largest < 1e-5
    student = load_text_encoder(path)
    theirs, ids = stock_features(folder, PROMPTS, 16)
    assert ids == Tokenizer(16).encode(PROMPTS)
    assert len(ids[-1]) == 16
    for ours, other in zip(our_features(student, PROMPTS), theirs, strict=True):
        torch.testing.assert_close(ours, other, rtol=0, atol=1e-5)
    same(load_text_encoder(folder).state_dict(), student.state_dict())


def test_convolutions_that_would_see_padding_are_refused_with_their_error(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "s0.ckpt", repmixer=True)
    with pytest.raises(
        ValueError, match=r"largest difference is .*tolerance is 0\.0001; its RepMixer .* litetext fit --config"
    ) as caught:
        export(path, "transformers", str(tmp_path / "out"), PROMPTS)
    assert "\n" not in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s0.ckpt"]
    made = export(path, "transformers", str(tmp_path / "out"), PROMPTS, tolerance=1e9)
    assert next(iter(made.parities.values())).largest > 1e-3
    assert made.agreements[0].pairs == 8  # measured and told, though not refused


def test_efficientsam3_alone_and_in_a_whole_checkpoint(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "s0.ckpt", repmixer=True, padding="reference")
    export(path, "efficientsam3", str(tmp_path / "alone"), PROMPTS)
    alone = torch.load(tmp_path / "alone" / "sam3_litetext.pt", weights_only=True)["model"]
    assert {key.split(".")[0] for key in alone} == {"encoder", "projector"}
    whole = {"detector.backbone.vision_backbone.x": torch.ones(3), "tracker.y": torch.zeros(1)}
    old = {
        f"{MODEL_PREFIX}encoder.token_embedding.weight": torch.ones(2, 2),
        f"{MODEL_PREFIX}resizer.bias": torch.ones(2),
    }
    torch.save({"model": {**whole, **old}}, tmp_path / "sam3.pt")
    export(path, "efficientsam3", str(tmp_path / "whole"), PROMPTS, sam3=str(tmp_path / "sam3.pt"))
    merged = torch.load(tmp_path / "whole" / "sam3_litetext.pt", weights_only=True)["model"]
    same(merged, {**whole, **{MODEL_PREFIX + key: value for key, value in alone.items()}})
    again = load_text_encoder(tmp_path / "whole" / "sam3_litetext.pt", heads=2)
    same(again.state_dict(), load_text_encoder(path).state_dict())
    with pytest.raises(ValueError, match="trained with padding: masked, and efficientsam3"):
        export(checkpoint(tmp_path / "m.ckpt"), "efficientsam3", str(tmp_path / "m"), PROMPTS)


def test_the_exported_processor_cleans_as_sam3_does(tmp_path: Path) -> None:
    from transformers import AutoProcessor

    export(checkpoint(tmp_path / "s1.ckpt"), "transformers", str(tmp_path / "out"), PROMPTS)
    processor: Any = AutoProcessor.from_pretrained(tmp_path / "out", local_files_only=True)
    odd = ["women’s shoe", "“red” circle", "red &amp; blue circle", "ｒｅｄ ｃｉｒｃｌｅ", "ﬁsh", "women's shoe"]
    asked = processor(text=odd, return_tensors="pt")
    read = [row[mask.bool()].tolist() for row, mask in zip(asked["input_ids"], asked["attention_mask"], strict=True)]
    assert read == Tokenizer(16).encode(odd)
    assert "mojibake" in (tmp_path / "out" / "README.md").read_text()
    # What it cannot clean is refused, and nothing is left behind.
    with pytest.raises(ValueError, match=r"other tokens: 1 of 1\d prompts, say 'cafÃ©'"):
        export(str(tmp_path / "s1.ckpt"), "transformers", str(tmp_path / "two"), [*PROMPTS[:2], "cafÃ©"])
    assert not (tmp_path / "two").exists()


def test_the_small_folder_is_the_student_bit_for_bit(tmp_path: Path) -> None:
    export(STUDENT, "text", str(tmp_path / "out"), PROMPTS)
    again, student = load_text_encoder(tmp_path / "out"), load_text_encoder(STUDENT)
    assert again.config == student.config
    same(again.state_dict(), student.state_dict())
    export(str(tmp_path / "out"), "text", str(tmp_path / "twice"), PROMPTS)
    same(load_text_encoder(tmp_path / "twice").state_dict(), student.state_dict())
    (tmp_path / "out" / "config.json").write_text('{"model_type": "litetext_student", "student": {"size": 3}}')
    with pytest.raises(ValueError, match="does not describe a student"):
        load_text_encoder(tmp_path / "out")


def test_positions_are_resized_by_choice_alone_and_it_is_recorded(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "s1.ckpt")
    with pytest.raises(ValueError, match=r"--context_length 8, .* has 16 positions; choose --positions slice"):
        export(path, "text", str(tmp_path / "out"), PROMPTS, context_length=8)
    tables = {}
    for how in ("slice", "interpolate"):
        export(path, "text", str(tmp_path / how), PROMPTS, context_length=8, positions=how)
        tables[how] = load_text_encoder(tmp_path / how).embedding.position
        assert "16" in json.loads((tmp_path / how / "config.json").read_text())["positions"]
    torch.testing.assert_close(tables["slice"], load_text_encoder(path).embedding.position[:8], rtol=0, atol=0)
    assert not torch.equal(tables["slice"], tables["interpolate"])
    with pytest.raises(ValueError, match="fewer than context_length=64"):
        export(path, "text", str(tmp_path / "long"), PROMPTS, context_length=64, positions="slice")


def test_the_card_says_where_it_comes_from(tmp_path: Path) -> None:
    export(checkpoint(tmp_path / "s1.ckpt"), "text", str(tmp_path / "out"), PROMPTS)
    card = (tmp_path / "out" / "README.md").read_text()
    for told in ("`checkpoints/sam3-tiny`", "`shapes:9`", "| cosine per token | 0.5000 |", "largest difference is 0,"):
        assert told in card
    export(str(tmp_path / "out"), "text", str(tmp_path / "twice"), PROMPTS)
    assert "`shapes:9`" in (tmp_path / "twice" / "README.md").read_text()


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        from safetensors import SafetensorError

        raise SafetensorError("Error while serializing: No space left on device (os error 28)")

    path = checkpoint(tmp_path / "s1.ckpt")
    monkeypatch.setattr(writing, "save_file", full)
    with pytest.raises(OSError, match="the disk is full; what stood there is as it was"):
        export(path, "text", str(tmp_path / "out"), PROMPTS)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s1.ckpt"]


@pytest.mark.usefixtures("unchecked")  # sizes are symbols while a graph is traced, and no int
@pytest.mark.parametrize("target", ["compact", "torch"])
def test_a_disk_that_fills_up_ends_in_one_line(tmp_path: Path, target: str, refused: Any) -> None:
    path = checkpoint(tmp_path / "s1.ckpt")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        said = refused("export", path, "--to", target, "--output", str(tmp_path / "out"), "--prompts", "shapes:5")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "the disk is full; what stood there is as it was" in said
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s1.ckpt"]


def test_an_export_is_as_readable_as_other_files(tmp_path: Path) -> None:
    """The safetensors library leaves files to their owner alone."""
    export(checkpoint(tmp_path / "s1.ckpt"), "compact", str(tmp_path / "out"), PROMPTS, keep=PROMPTS, pairs=0)
    files = sorted((tmp_path / "out").iterdir())
    assert [f.name for f in files] == ["README.md", "config.json", "model.safetensors", "other_tokens.safetensors"]
    assert all(f.stat().st_mode & 0o444 == 0o444 for f in files if f.suffix == ".safetensors")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocab_size": 60}, "60 token rows, and SAM3's tokenizer 49,408"),
        ({"width": 32}, "gives 32 values a token, and the SAM3 .* reads 64"),
        ({"context_length": 40}, "add --context_length 32 --positions slice"),
    ],
)
def test_students_that_do_not_fit(tmp_path: Path, options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        export(checkpoint(tmp_path / "s.ckpt", **options), "transformers", str(tmp_path / "out"), PROMPTS)
    assert not (tmp_path / "out").exists()


def test_parity_notices_what_differs() -> None:
    rows = [torch.rand(3, 4), torch.rand(5, 4)]
    assert parity_of(rows, rows)[1] == 0
    other = [rows[0], rows[1].clone()]
    other[1][4, 2] += 0.25
    found = parity_of(rows, other)
    assert found.largest == pytest.approx(0.25)
    with pytest.raises(ValueError, match=r"x: on 2 prompts the largest difference is 0\.25.*; do y"):
        require_parity("x", found, 0.2, "do y")
    with pytest.raises(ValueError, match="prompt 1 are"):
        parity_of(rows, [rows[0], rows[1][:4]])
    other[1][0, 0] = float("nan")
    with pytest.raises(ValueError, match="inf"):
        require_parity("x", parity_of(rows, other), 1.0)


def test_the_command(tmp_path: Path, litetext: Any, refused: Any) -> None:
    assert {option.name: option.kind for option in options(command)}["to"] == tuple(TARGETS)
    for name in (".out.0a1b2c3d.draft", ".output.0a1b2c3d.draft"):  # of this folder, and of another one
        (tmp_path / name).mkdir()
    answer = litetext("export", STUDENT, "--to", "text", "--output", str(tmp_path / "out"), "--prompts", "shapes:5")
    assert answer.code == 0, answer.err
    assert "largest difference is 0" in answer.out
    assert ".out.0a1b2c3d.draft is of an export that was killed" in answer.err
    assert ".output." not in answer.err
    again = ("export", STUDENT, "--to", "text", "--output", str(tmp_path / "out"))
    assert "is there already" in refused(*again)
    assert "no such file" in refused("export", "no.ckpt", "--to", "text", "--output", str(tmp_path / "x"))
    assert "SAM3's own text encoder" in refused("export", SAM3, "--to", "text", "--output", str(tmp_path / "x"))
    assert "nowhere" in refused(
        "export", STUDENT, "--to", "transformers", "--sam3", "nowhere", "--output", str(tmp_path / "x")
    )
    assert not (tmp_path / "x").exists()


def test_overwrite_replaces_an_export_and_nothing_else(tmp_path: Path, litetext: Any, refused: Any) -> None:
    student = checkpoint(tmp_path / "student.ckpt")
    for name in ("out", "other"):
        assert litetext("export", student, "--to", "text", "--output", str(tmp_path / name)).code == 0
    out, other = tmp_path / "out", str(tmp_path / "other")
    (out / "README.md").write_text((out / "README.md").read_text() + "\nmine\n")
    argv = ("export", other, "--to", "text", "--prompts", "shapes:5", "--output")
    assert "give --overwrite" in refused(*argv, str(out))
    assert "mine" in (out / "README.md").read_text()
    refused(*argv, str(out), "--overwrite", "--context_length", "2")  # fails: the old one stays
    assert "mine" in (out / "README.md").read_text()
    answer = litetext(*argv, str(out), "--overwrite")
    assert answer.code == 0, answer.err
    assert "mine" not in (out / "README.md").read_text()
    before = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    assert "is or holds the input" in refused(*argv, other, "--overwrite")
    assert "is or holds the input" in refused(*argv, str(tmp_path), "--overwrite")
    assert "is or holds the input" in refused(
        "export", STUDENT, "--to", "text", "--output", other, "--keep", f"{other}/README.md", "--overwrite"
    )
    for mine in (out / ".git" / "HEAD", out / "photo.png"):  # a clone of the hub, and a picture of the user's
        mine.parent.mkdir(exist_ok=True)
        mine.write_text("mine")
    assert "holds .git and 1 more beside an export" in refused(*argv, str(out), "--overwrite")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "README.md").write_text("# my photos\n")
    assert "is no export of litetext" in refused(*argv, str(tmp_path / "photos"), "--overwrite")
    assert "is no export of litetext" in refused(*argv, student, "--overwrite")
    assert before == {path: path.read_bytes() for path in before}


def test_a_compact_student_keeps_the_tokens_of_a_corpus_and_answers_all(
    tmp_path: Path, litetext: Any, refused: Any
) -> None:
    (tmp_path / "mine.txt").write_text("white dog\nred circle\n")
    folder = tmp_path / "small"
    command = (
        "export",
        STUDENT,
        "--output",
        str(folder),
        "--prompts",
        "shapes:40",
        "--keep",
        str(tmp_path / "mine.txt"),
    )
    assert "--keep is for compact" in refused(*command, "--to", "text")
    answer = litetext(*command, "--to", "compact", "--bits", "8")
    assert answer.code == 0, answer.err
    config = json.loads((folder / "config.json").read_text())
    assert config["quantized"]["kept"] == 7  # four words, start, end and padding
    assert "7 token rows" in (folder / "README.md").read_text()
    whole = tmp_path / "whole"
    export(STUDENT, "compact", str(whole), ["red circle"], bits=8)
    few, all_rows = (load_text_encoder(path) for path in (folder, whole))
    for one, two in zip(our_features(few, PROMPTS), our_features(all_rows, PROMPTS), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)


def test_a_compact_student_in_four_bits(tmp_path: Path, litetext: Any, refused: Any) -> None:
    command = ("export", STUDENT, "--prompts", "shapes:40", "--pairs", "4", "--bits", "4")
    assert "--bits is for compact" in refused(*command, "--to", "text", "--output", str(tmp_path / "text"))
    answer = litetext(*command, "--to", "compact", "--output", str(tmp_path / "small"))
    assert answer.code == 0, answer.err
    assert "load_text_encoder, 4-bit weights" in answer.out
    assert "4-bit weights" in (tmp_path / "small" / "README.md").read_text()
    assert json.loads((tmp_path / "small" / "config.json").read_text())["quantized"]["linears"] == 4


def test_a_compact_student_is_small_by_default_and_says_why(tmp_path: Path, litetext: Any, refused: Any) -> None:
    command = ("export", STUDENT, "--to", "compact", "--prompts", "shapes:40", "--pairs", "4", "--rows", "9")
    assert "--rows 9 counts the token rows of --keep" in refused(*command, "--output", str(tmp_path / "small"))
    answer = litetext(*command, "--keep", "shapes:300", "--output", str(tmp_path / "small"))
    assert answer.code == 0, answer.err
    stored = json.loads((tmp_path / "small" / "config.json").read_text())["quantized"]
    card = (tmp_path / "small" / "README.md").read_text()
    assert stored["kept"] == 9
    assert stored["tokens"] == stored["linears"]
    chosen = SMALL.index(stored["linears"])
    assert (WHY_SMALL in card) == (chosen == 0)
    assert card.count("Not smaller, since") == chosen  # each that was too far from the student, and how far
    assert "on 300 prompts of the corpus whose tokens are kept" in card
    held = sum(
        part.numel() * part.element_size() for part in load_text_encoder(tmp_path / "small").state_dict().values()
    )
    assert f"In memory, {held:,} bytes" in card


def test_without_prompts_those_of_the_students_world_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def read(name: str, path: str) -> PromptSource:
        asked.append(path)
        return read_prompts(name, path)

    monkeypatch.setattr(targets, "read_prompts", read)
    made = export(STUDENT, "text", str(tmp_path / "shapes"), pairs=0)
    export("checkpoints/student-nouns/student.ckpt", "text", str(tmp_path / "nouns"), pairs=0)
    assert asked == ["shapes:200", "nouns:200"]
    assert "on 200 prompts" in made.parities["load_text_encoder, float32"].line("features")
