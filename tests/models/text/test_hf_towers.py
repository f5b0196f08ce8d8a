"""Text towers of any kind: the features of the stock models, whatever else is in the batch."""

import json
import shutil
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer as Fast
from tokenizers import models, normalizers, pre_tokenizers, processors
from torch import Tensor

from litetext.models.text.encoder import TextEncoder
from litetext.models.text.hf_towers import FAMILIES, phrase_blocks
from litetext.models.text.hub_encoder import HubTextEncoder
from litetext.models.text.loading import load_tower
from litetext.models.text.mobileclip import MobileClipText
from litetext.models.text.teacher import Sam3TextEncoder
from litetext.tokenizer import END, START, Tokenizer

hub: Any = transformers
"""Whose classes say less of their arguments than they take."""
GOLDEN = Path(__file__).parent.parent.parent / "fixtures" / "golden"
WORDS = ["red", "dog", "white", "cat", "on", "the", "left", "striped", "circle", "with", "dots", "person", "tall"]
PROMPTS = ["red dog", "cat", "the tall person on the left with the white dog on the right", "Striped circle", ""]
CONTEXT = 12
SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": CONTEXT,
}
IMAGE: dict[str, Any] = {**SMALL, "num_hidden_layers": 1, "image_size": 8, "patch_size": 4}


def save_words(folder: Path, start: str | None, end: str, pad: str, first: int = 0, **more: Any) -> None:
    """A tokenizer of whole words, with the special tokens where the model wants them."""
    special = [token for token in dict.fromkeys((start, pad, end, "[UNK]")) if token]
    vocabulary = {token: first + i for i, token in enumerate([*special, *WORDS])}
    fast = Fast(models.WordLevel(vocabulary, unk_token="[UNK]"))
    fast.normalizer = normalizers.Lowercase()  # type: ignore[assignment]
    fast.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    template = f"{start} $A {end}" if start else f"$A {end}"
    marks = [(token, vocabulary[token]) for token in (start, end) if token]
    fast.post_processor = processors.TemplateProcessing(single=template, special_tokens=marks)  # type: ignore[assignment]
    tokenizer = hub.PreTrainedTokenizerFast(
        tokenizer_object=fast, bos_token=start, eos_token=end, pad_token=pad, unk_token="[UNK]", **more
    )
    tokenizer.save_pretrained(folder)


def save_clip_words(folder: Path) -> None:
    """CLIP's own tokenizer class over single letters and one merge."""
    letters = [*"abcdefghijklmnopqrstuvwxyz.,"]
    symbols = [*letters, *(c + "</w>" for c in letters), "do", "dog</w>", "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {symbol: i for i, symbol in enumerate(symbols)}
    tokenizer = hub.CLIPTokenizer(vocab=vocabulary, merges=[("d", "o"), ("do", "g</w>")])
    tokenizer.save_pretrained(folder)


def save_gemma_letters(folder: Path) -> None:
    """SigLIP2's own tokenizer class, as published: lower case, an end token and no start token."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    vocabulary = {token: i for i, token in enumerate([*special, *"▁abcdefghijklmnopqrstuvwxyz", "do", "dog"])}
    tokenizer = hub.Siglip2Tokenizer(
        vocab=vocabulary,
        merges=[("d", "o"), ("do", "g")],
        add_bos_token=False,
        add_eos_token=True,
        padding_side="right",
    )
    tokenizer.save_pretrained(folder)


def seeded(make: Callable[[], Any]) -> Any:
    """Weights large enough that positions and neighbours show in the features."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make().eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("clip")
    save_clip_words(folder)
    text = {**SMALL, "vocab_size": 60, "bos_token_id": 58, "eos_token_id": 59, "pad_token_id": 59}
    config = hub.CLIPConfig(text_config=text, vision_config=IMAGE, projection_dim=8)
    model = seeded(lambda: hub.CLIPModel(config))
    model.save_pretrained(folder)
    return folder, model


def siglip(folder: Path, kind: str) -> Any:
    if kind == "siglip":
        save_words(folder, None, "</s>", "</s>")
    else:
        save_gemma_letters(folder)
    text = {
        **SMALL,
        "vocab_size": 40,
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": 0,
        "projection_size": 16,
    }
    if kind == "siglip":
        vision, classes = IMAGE, (hub.SiglipConfig, hub.SiglipModel)
    else:
        vision = {k: v for k, v in IMAGE.items() if k != "image_size"} | {"num_patches": 4}
        classes = (hub.Siglip2Config, hub.Siglip2Model)
    model = seeded(lambda: classes[1](classes[0](text_config=text, vision_config=vision)))
    model.save_pretrained(folder)
    return model


def dino(folder: Path, mm: bool) -> Any:
    """A Grounding DINO whose vocabulary has its delimiters where BERT has them."""
    words = [f"[unused{i}]" for i in range(1030)]
    for token, place in {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103}.items():
        words[place] = token
    words[1012], words[1029] = ".", "?"
    hub.BertTokenizer(vocab={w: i for i, w in enumerate([*words, *WORDS])}).save_pretrained(folder)
    bert = hub.BertConfig(**{**SMALL, "max_position_embeddings": 40, "vocab_size": 1060})
    swin = hub.SwinConfig(
        image_size=32, embed_dim=8, depths=[1, 1], num_heads=[1, 1], window_size=2, out_indices=[1, 2]
    )
    sizes = {"d_model": 32, "num_queries": 4, "max_text_len": CONTEXT, "num_feature_levels": 2}
    for side in ("encoder", "decoder"):
        sizes |= {f"{side}_layers": 2, f"{side}_attention_heads": 2, f"{side}_ffn_dim": 16}
    prefix = "MM" * mm + "GroundingDino"
    config = getattr(transformers, prefix + "Config")(text_config=bert, backbone_config=swin, **sizes)
    model = seeded(lambda: getattr(transformers, prefix + "ForObjectDetection")(config))
    model.save_pretrained(folder)
    return model


@torch.no_grad()
def stock(encoder: TextEncoder, model: Any, prompts: Sequence[str], **more: Any) -> list[Tensor]:
    """The model's own last hidden states of valid tokens, all prompts padded in one batch."""
    given = hub.AutoTokenizer.from_pretrained(encoder.name)(
        list(prompts), padding="longest", truncation=True, max_length=CONTEXT, return_tensors="pt", **more
    )
    valid = given["attention_mask"].bool()
    given = {k: v for k, v in given.items() if k in ("input_ids", "attention_mask")}
    hidden = model(**given).last_hidden_state
    return [row[kept] for row, kept in zip(hidden, valid, strict=True)]


def close(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> None:
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


def sound(tower: TextEncoder, kind: str) -> None:
    """What holds for every tower."""
    assert isinstance(tower, TextEncoder)
    assert tower.kind == kind
    rows, features = tower.tokenize(PROMPTS), tower.encode(PROMPTS).of(PROMPTS)
    assert [len(row) for row in rows] == [len(f) for f in features]
    assert max(map(len, rows)) == min(tower.context_length, 15)
    assert all(f.shape[1] == tower.width and f.dtype == torch.float32 for f in features)
    assert len(tower.token_vectors()) == tower.vocab_size
    assert tower.parameter_count > tower.token_vectors().numel() / 10
    assert set(rows[-1]) <= tower.tokenizer.special  # the empty prompt
    positions = tower.position_vectors()
    assert positions is None or len(positions) >= tower.context_length
    assert "dog" in tower.tokenizer.token_text(
        tower.tokenize(["dog"])[0][1 if rows[0][0] in tower.tokenizer.special else 0]
    )
    assert tower.tokenize([]) == tower.encode([]).rows == []


def test_clip(clip: tuple[Path, Any]) -> None:
    folder, model = clip
    tower = load_tower(folder)
    assert isinstance(tower, HubTextEncoder)
    sound(tower, "clip")
    assert (tower.context_length, tower.tokenizer.special) == (CONTEXT, {58, 59})
    close(tower.encode(PROMPTS).of(PROMPTS), stock(tower, model.text_model, PROMPTS))
    assert tower.parameter_count == sum(p.numel() for p in model.text_model.parameters())
    text = model.text_model.embeddings
    assert torch.equal(tower.token_vectors(), text.token_embedding.weight)
    positions = tower.position_vectors()
    assert positions is not None
    assert torch.equal(positions, text.position_embedding.weight)


def test_a_clip_text_model_alone_is_the_same_tower(clip: tuple[Path, Any], tmp_path: Path) -> None:
    folder, _ = clip
    hub.CLIPTextModel.from_pretrained(folder).save_pretrained(tmp_path)
    save_clip_words(tmp_path)
    tower = load_tower(tmp_path)
    assert tower.kind == "clip_text_model"
    close(tower.encode(PROMPTS).of(PROMPTS), load_tower(folder).encode(PROMPTS).of(PROMPTS))


@pytest.mark.parametrize("kind", ["siglip", "siglip2"])
def test_siglip_sees_prompts_filled_up_with_padding(tmp_path: Path, kind: str) -> None:
    model = siglip(tmp_path, kind)
    tower = load_tower(tmp_path)
    assert isinstance(tower, HubTextEncoder)
    sound(tower, kind)
    assert tower.tokenizer.special == ({0} if kind == "siglip" else {0, 1, 2})  # SigLIP pads with its end token
    theirs = hub.AutoTokenizer.from_pretrained(tmp_path)
    filled = theirs(PROMPTS, padding="max_length", truncation=True, max_length=CONTEXT, return_tensors="pt")
    with torch.no_grad():
        hidden = model.text_model(input_ids=filled["input_ids"]).last_hidden_state
    close(
        tower.encode(PROMPTS).of(PROMPTS), [h[:n] for h, n in zip(hidden, filled["attention_mask"].sum(1), strict=True)]
    )


def bert_config(kind: str) -> Any:
    ids = {"pad_token_id": 1, "bos_token_id": 0, "cls_token_id": 0, "eos_token_id": 2, "sep_token_id": 2}
    offset = 2 if kind in ("roberta", "xlm-roberta", "camembert", "mpnet") else 0
    sizes = {**SMALL, "max_position_embeddings": CONTEXT + offset}
    if kind == "distilbert":
        sizes = {"dim": 16, "hidden_dim": 32, "n_layers": 2, "n_heads": 2, "max_position_embeddings": CONTEXT}
    if kind in ("electra", "albert"):
        sizes["embedding_size"] = 8
    if kind == "deberta-v2":  # as published: positions relative
        sizes |= {"relative_attention": True, "position_biased_input": False, "pos_att_type": ["p2c", "c2p"]}
    return hub.AutoConfig.for_model(kind, vocab_size=20, **sizes, **ids)


@pytest.mark.parametrize("kind", [kind for kind, family in FAMILIES.items() if family == "bert"])
def test_the_family_of_bert(tmp_path: Path, kind: str) -> None:
    save_words(tmp_path, "<s>", "</s>", "<pad>")
    model = seeded(lambda: hub.AutoModel.from_config(bert_config(kind)))
    model.save_pretrained(tmp_path)
    tower = load_tower(tmp_path)
    assert isinstance(tower, HubTextEncoder)
    sound(tower, kind)
    assert (tower.context_length, tower.tokenizer.special) == (CONTEXT, {0, 1, 2})
    assert torch.equal(tower.token_vectors(), model.get_input_embeddings().weight)
    assert (tower.position_vectors() is None) == (kind in ("deberta-v2", "modernbert"))
    close(tower.encode(PROMPTS).of(PROMPTS), stock(tower, model, PROMPTS))


def test_a_bert_with_another_head_gives_its_text_side(tmp_path: Path) -> None:
    save_words(tmp_path, "<s>", "</s>", "<pad>")
    model = seeded(lambda: hub.BertForMaskedLM(bert_config("bert")))
    model.save_pretrained(tmp_path)
    tower = load_tower(tmp_path)
    assert isinstance(tower, HubTextEncoder)
    close(tower.encode(PROMPTS).of(PROMPTS), stock(tower, model.bert, PROMPTS))


@pytest.mark.parametrize("mm", [False, True])
def test_grounding_dino_sees_a_prompt_as_its_detector_does(tmp_path: Path, mm: bool) -> None:
    model = dino(tmp_path, mm)
    tower = load_tower(tmp_path)
    assert isinstance(tower, HubTextEncoder)
    assert tower.kind == "mm-" * mm + "grounding-dino"
    assert tower.tokenize(["Red dog", "cat."]) == [[101, 1030, 1031, 1012, 102], [101, 1033, 1012, 102]]
    assert (tower.context_length, tower.tokenizer.special) == (CONTEXT, {0, 101, 102, 1012})
    assert tower.parameter_count == sum(p.numel() for p in model.model.text_backbone.parameters())
    heard: list[Tensor] = []
    model.model.text_backbone.register_forward_hook(lambda _, __, out: heard.append(out[0].detach()))
    prompts = ["red dog", "cat", "person on the left"]
    theirs = hub.AutoTokenizer.from_pretrained(tmp_path)
    given = theirs([p + "." for p in prompts], padding=True, return_tensors="pt")
    with torch.no_grad():
        model(pixel_values=torch.zeros(3, 3, 32, 32), **given)
    close(
        tower.encode(prompts).of(prompts),
        [h[:n] for h, n in zip(heard[0], given["attention_mask"].sum(1), strict=True)],
    )


@given(st.lists(st.sampled_from([7, 8, 9, 101, 1012, 1029]), max_size=8))
def test_phrase_blocks_are_those_of_transformers(middle: list[int]) -> None:
    reference: Any = import_module("transformers.models.grounding_dino.modeling_grounding_dino")
    ids = torch.tensor([[101, *middle, 102]])
    theirs = reference.generate_masks_with_special_tokens_and_transfer_map(ids, torch.tensor([101, 102, 1012, 1029]))
    for a, b in zip(phrase_blocks(ids), theirs, strict=True):
        assert torch.equal(a, b)


@pytest.fixture(scope="module")
def towers(
    clip: tuple[Path, Any], teacher_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, TextEncoder]:
    folders = {name: tmp_path_factory.mktemp(name) for name in ("siglip", "dino", "roberta")}
    siglip(folders["siglip"], "siglip")
    dino(folders["dino"], mm=False)
    save_words(folders["roberta"], "<s>", "</s>", "<pad>")
    seeded(lambda: hub.AutoModel.from_config(bert_config("roberta"))).save_pretrained(folders["roberta"])
    found: dict[str, TextEncoder] = {name: load_tower(folder) for name, folder in folders.items()}
    found["clip"], found["sam3"] = load_tower(clip[0]), load_tower(teacher_file)
    for padding in ("masked", "reference"):
        student = seeded(lambda p=padding: MobileClipText("nano", repmixer=True, padding=p))
        found[padding] = student
    return found


@pytest.mark.parametrize("name", ["siglip", "dino", "roberta", "clip", "sam3", "masked", "reference"])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_features_depend_on_the_prompt_alone(towers: dict[str, TextEncoder], name: str, data: st.DataObject) -> None:
    prompts = st.lists(st.sampled_from(WORDS), max_size=CONTEXT).map(" ".join)
    batch = data.draw(st.lists(prompts, min_size=1, max_size=6))
    tower = towers[name]
    together = tower.encode(batch).of(batch)
    close(together, [tower.encode([prompt])[prompt] for prompt in batch])
    close(tower.encode(batch[::-1]).of(batch[::-1]), together[::-1])


def test_sam3_and_its_student() -> None:
    tower = load_tower("checkpoints/sam3-tiny")
    sound(tower, "sam3")
    assert tower.name == "checkpoints/sam3-tiny"
    assert (tower.tokenizer.special, tower.vocab_size, tower.context_length) == ({START, END}, 49408, 32)
    assert isinstance(tower, Sam3TextEncoder)
    found = tower.encode(PROMPTS, Tokenizer(32))
    close(tower.encode(PROMPTS).of(PROMPTS), [found.take([p]).features[0] for p in PROMPTS])
    student = load_tower("checkpoints/student-tiny/student.ckpt")
    sound(student, "student")
    assert student.width == tower.width
    row = student.embedding.token(torch.tensor(START))
    torch.testing.assert_close(student.token_vectors()[START], student.embedding.lift(row))


def test_published_students_are_students() -> None:
    tower = load_tower(GOLDEN / "eff_S0.safetensors")
    assert (tower.kind, tower.context_length) == ("student", 20)
    positions = tower.position_vectors()
    assert positions is not None
    assert len(positions) == 20


def test_weights_that_are_not_finite_are_loaded(clip: tuple[Path, Any], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(clip[0], tmp_path / "clip"))
    state = load_file(folder / "model.safetensors")
    state["text_model.embeddings.token_embedding.weight"][3] = torch.nan
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    assert load_tower(folder).token_vectors()[3].isnan().all()


def test_a_tokenizer_of_another_vocabulary_is_named(tmp_path: Path) -> None:
    encoder = MobileClipText("nano", vocab_size=50)
    encoder.name = "small"
    with pytest.raises(ValueError, match="small has rows for 50 tokens, and SAM3's tokenizer gives id 49407"):
        encoder.encode(["dog"])
    save_words(tmp_path, "<s>", "</s>", "<pad>", first=20)
    hub.BertModel(bert_config("bert")).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="rows for 20 tokens, and its tokenizer gives id"):
        load_tower(tmp_path).encode(["dog"])


def test_what_cannot_be_loaded_is_said_in_one_line(clip: tuple[Path, Any], tmp_path: Path) -> None:
    def refusal(folder: Path) -> str:
        with pytest.raises(ValueError, match=str(folder)) as caught:
            load_tower(folder)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    assert "type 'gpt2'" in refusal(tmp_path)
    assert "supported are sam3, sam3_video, sam3_lite_text, litetext_student, clip, " in refusal(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    assert "no JSON with a model_type" in refusal(tmp_path)
    folder = Path(shutil.copytree(clip[0], tmp_path / "clip"))
    for file in folder.glob("*token*"):
        file.unlink()
    assert "holds no tokenizer that can be read" in refusal(folder)
    state = load_file(folder / "model.safetensors")
    del state["text_model.final_layer_norm.bias"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    assert "is no whole clip: 1 of its weights are missing, such as final_layer_norm.bias" in refusal(folder)
    (folder / "model.safetensors").write_bytes(b"cut")
    assert "cannot be read as a safetensors file" in refusal(folder)
    with pytest.raises(FileNotFoundError, match="text encoder 'no/such/path'"):
        load_tower("no/such/path")
