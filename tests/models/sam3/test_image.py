"""A frozen SAM3 that takes text features from outside: against transformers' own forward pass, and its own laws."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import Sam3ImageProcessor, Sam3Model
from transformers.modeling_outputs import BaseModelOutputWithPooling

from litetext.models.sam3.image import DecoderOutputs, Sam3Image, Vision
from litetext.models.sam3.postprocess import official_scores, postprocess
from litetext.models.sam3.tiny import tiny_config, tiny_sam3
from litetext.models.text.teacher import Sam3TextEncoder
from litetext.saco.instances import Instances
from litetext.shipped import shipped
from litetext.tokenizer import Tokenizer
from tests.fixtures.pixels import assert_same_masks, undecided

SIZE, WIDTH = 32, 32
LENGTHS = torch.tensor([6, 3, 2, 4, 5])


@pytest.fixture(scope="module")
def sam3() -> Sam3Model:
    """Random weights, with boxes and scores that differ from query to query."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = tiny_sam3(tiny_config(SIZE, WIDTH, vision_layers=2, layers=2)).eval()
        decoder: Any = model.detr_decoder
        torch.nn.init.normal_(decoder.box_head.layer3.weight, std=0.2)
        torch.nn.init.normal_(decoder.query_embed.weight)
    return model


@pytest.fixture(scope="module")
def detector(sam3: Sam3Model) -> Sam3Image:
    return Sam3Image(sam3)


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    return torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def features() -> Tensor:
    return torch.randn(5, 6, WIDTH, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def vision(detector: Sam3Image, pixels: Tensor) -> Vision:
    return detector.encode_images(pixels)


@torch.no_grad()
def transformers_forward(sam3: Sam3Model, pixels: Tensor, features: Tensor, ignored_box: bool) -> DecoderOutputs:
    """Every phrase with its own copy of the image; one ignored box makes transformers add the geometry token."""
    n = len(features)
    mask = (torch.arange(features.shape[1]) < LENGTHS[:n, None]).long()
    box: dict[str, Any] = {}
    if ignored_box:
        box = {"input_boxes": torch.full((n, 1, 4), 0.5), "input_boxes_labels": torch.full((n, 1), -10)}
    out: Any = sam3(
        pixel_values=pixels.expand(n, -1, -1, -1),
        text_embeds=BaseModelOutputWithPooling(pooler_output=features),  # type: ignore[arg-type]
        attention_mask=mask,
        **box,
    )
    low, high = out.pred_boxes.split(2, -1)
    boxes = torch.cat([(low + high) / 2, high - low], -1)
    return DecoderOutputs(out.pred_logits, out.presence_logits[:, 0], boxes, out.pred_masks)


def close(ours: DecoderOutputs, theirs: DecoderOutputs) -> None:
    """To 1e-4 of the largest value of each."""
    for name, a, b in zip(DecoderOutputs._fields, ours, theirs, strict=True):
        scale = max(1.0, float(b.abs().max()))
        assert a.shape == b.shape, name
        assert float((a - b).abs().max()) <= 1e-4 * scale, name


@pytest.mark.parametrize("image", [0, 1])
def test_the_default_is_transformers_with_one_ignored_box(
    detector: Sam3Image, sam3: Sam3Model, vision: Vision, pixels: Tensor, features: Tensor, image: int
) -> None:
    theirs = transformers_forward(sam3, pixels[image : image + 1], features, ignored_box=True)
    close(detector.detect(vision[image], features, LENGTHS), theirs)


def test_without_the_geometry_token_it_is_stock_transformers(sam3: Sam3Model, pixels: Tensor, features: Tensor) -> None:
    stock = Sam3Image(sam3, geometry_token=False)
    theirs = transformers_forward(sam3, pixels[:1], features, ignored_box=False)
    close(stock.detect(stock.encode_images(pixels)[0], features, LENGTHS), theirs)


def test_the_geometry_token_makes_a_difference(sam3: Sam3Model, pixels: Tensor, features: Tensor) -> None:
    with_token, stock = (
        d.detect(d.encode_images(pixels)[0], features, LENGTHS)
        for d in (Sam3Image(sam3), Sam3Image(sam3, geometry_token=False))
    )
    assert float((with_token.logits - stock.logits).abs().max()) > 0.05
    assert float((with_token.presence - stock.presence).abs().max()) > 0.05
    assert float((with_token.masks - stock.masks).abs().max()) > 0.05


@pytest.mark.parametrize("chunk", [1, 2, 4])
def test_the_chunk_does_not_change_results(detector: Sam3Image, vision: Vision, features: Tensor, chunk: int) -> None:
    close(detector.detect(vision[0], features, LENGTHS, chunk), detector.detect(vision[0], features, LENGTHS))
    some, all_ = (
        list(detector.segment(vision[0], features, LENGTHS, (40, 24), 0.1, size)) for size in (chunk, len(LENGTHS))
    )
    for one, other in zip(some, all_, strict=True):
        same(one, other)


def test_a_phrase_does_not_depend_on_the_others(detector: Sam3Image, vision: Vision, features: Tensor) -> None:
    together = detector.detect(vision[0], features, LENGTHS)
    for n in range(len(LENGTHS)):
        alone = detector.detect(vision[0], features[n : n + 1, : int(LENGTHS[n])], LENGTHS[n : n + 1])
        close(alone, DecoderOutputs(*(part[n : n + 1] for part in together)))
    backwards = detector.detect(vision[0], features.flip(0), LENGTHS.flip(0))
    close(backwards, DecoderOutputs(*(part.flip(0) for part in together)))


def test_padding_does_not_matter(detector: Sam3Image, vision: Vision, features: Tensor) -> None:
    loud = features.clone()
    loud[torch.arange(6) >= LENGTHS[:, None]] = 1e3
    close(detector.detect(vision[0], loud, LENGTHS), detector.detect(vision[0], features, LENGTHS))


def test_an_image_does_not_depend_on_the_others(
    detector: Sam3Image, vision: Vision, pixels: Tensor, features: Tensor
) -> None:
    alone = detector.encode_images(pixels[1:])
    close(detector.detect(vision[-1], features, LENGTHS), detector.detect(alone, features, LENGTHS))
    assert len(vision) == 2
    with pytest.raises(IndexError):
        vision[2]
    with pytest.raises(ValueError, match=r"this vision holds 2; give vision\[i\]"):
        detector.detect(vision, features, LENGTHS)


def test_what_depends_on_the_image_alone_runs_once(
    sam3: Sam3Model, pixels: Tensor, features: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = dict.fromkeys(("vision_encoder", "geometry_encoder.layers.0", "detr_encoder.layers.0.self_attn"), 0)

    def count(name: str) -> Any:
        def hook(*_: Any) -> None:
            calls[name] += 1

        return hook

    handles = [sam3.get_submodule(name).register_forward_hook(count(name)) for name in calls]
    try:
        detector = Sam3Image(sam3)
        seen = detector.encode_images(pixels[:1])
        for _ in range(4):  # four text encoders
            list(detector.segment(seen, features, LENGTHS, (SIZE, SIZE), chunk=2))
    finally:
        for handle in handles:
            handle.remove()
    assert set(calls.values()) == {1}, calls


def same(one: Instances, other: Instances, pixels: int = 2) -> None:
    """Equal but for rounding: the last of five decimals, and pixels on the very edge of a mask."""
    assert one.masks.shape == other.masks.shape
    torch.testing.assert_close(one.scores, other.scores, rtol=0, atol=1.1e-5)
    torch.testing.assert_close(one.boxes, other.boxes, rtol=0, atol=1.1e-5)
    assert int((one.masks ^ other.masks).sum()) <= pixels


@pytest.mark.parametrize("size", [(40, 24), (20, 64)])
def test_segment_is_the_post_processing_of_detect(
    detector: Sam3Image, vision: Vision, features: Tensor, size: tuple[int, int]
) -> None:
    raw = detector.detect(vision[0], features, LENGTHS)
    scores = official_scores(raw.logits, raw.presence)
    ranked = scores.flatten().sort().values[len(scores.flatten()) // 4 : -len(scores.flatten()) // 4]
    widest = int(ranked.diff().argmax())  # no score so near that its last bits decide
    threshold = float(ranked[widest : widest + 2].mean())
    found = list(detector.segment(vision[0], features, LENGTHS, size, threshold, chunk=2))
    expected = postprocess(*raw, size=size, threshold=threshold)
    assert len({len(f.scores) for f in expected}) > 1, "phrases should keep different numbers of queries"
    assert sum(len(f.scores) for f in found) == int((scores > threshold).sum())
    for one, other in zip(found, expected, strict=True):
        assert one.masks.shape[1:] == size
        same(one, other)


def test_the_post_processing_is_the_official_one() -> None:
    logits, presence = torch.tensor([[2.0, -1.0, 0.3]]), torch.tensor([1.5])
    boxes = torch.tensor([[[0.5, 0.5, 0.2, 0.4], [0.1, 0.2, 0.1, 0.1], [1 / 3, 0.7, 0.1, 0.2]]])
    masks = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    (found,) = postprocess(logits, presence, boxes, masks, size=(20, 12), threshold=0.3)
    chance = [1 / (1 + 2.718281828459045**-x) * 1 / (1 + 2.718281828459045**-1.5) for x in (2.0, 0.3)]
    assert found.scores.tolist() == [round(c, 5) for c in chance]
    assert found.scores.dtype == torch.float64
    assert found.boxes.tolist() == [[0.4, 0.3, 0.2, 0.4], [0.28333, 0.6, 0.1, 0.2]]
    # Logits are resized, then cut: resizing probabilities, as transformers does, would move the edges.
    full = torch.nn.functional.interpolate(masks[:, [0, 2]], (20, 12), mode="bilinear", align_corners=False)[0]
    assert_same_masks(found.masks, full > 0, undecided(full))
    # 0.499996 counts as 0.5 once rounded, 0.499994 does not.
    near = torch.logit(torch.tensor([[0.499996, 0.499994]], dtype=torch.float64)).float()
    (edge,) = postprocess(near, torch.tensor([40.0]), boxes[:, :2], masks[:, :2], (8, 8))
    assert edge.scores.tolist() == [0.5]


def test_big_images_are_resized_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    masks = torch.randn(1, 5, 8, 8, generator=torch.Generator().manual_seed(4))
    raw = DecoderOutputs(torch.ones(1, 5), torch.full((1,), 9.0), torch.rand(1, 5, 4), masks)
    (whole,) = postprocess(*raw, size=(30, 50))
    monkeypatch.setattr("litetext.models.sam3.postprocess._PIXELS_AT_ONCE", 2 * 30 * 50)
    (parts,) = postprocess(*raw, size=(30, 50))
    assert len(whole.masks) == 5
    full = torch.nn.functional.interpolate(masks, (30, 50), mode="bilinear", align_corners=False)[0]
    assert_same_masks(whole.masks, parts.masks, undecided(full))


def test_no_phrases_and_nothing_found(detector: Sam3Image, vision: Vision, features: Tensor) -> None:
    raw = detector.detect(vision[0], features[:0], LENGTHS[:0])
    full = detector.detect(vision[0], features, LENGTHS)
    assert [part.shape for part in raw] == [(0, *part.shape[1:]) for part in full]
    assert list(detector.segment(vision[0], features[:0], LENGTHS[:0], (9, 7))) == []
    found = list(detector.segment(vision[0], features, LENGTHS, (9, 7), threshold=1.1, chunk=2))
    assert [len(f.scores) for f in found] == [0] * 5
    assert found[0].masks.shape == (0, 9, 7)
    assert found[0].boxes.shape == (0, 4)


def test_images_of_any_shape_are_prepared_as_the_checkpoint_says(sam3: Sam3Model) -> None:
    processor = Sam3ImageProcessor(
        size={"height": SIZE, "width": SIZE}, image_mean=[0.1, 0.2, 0.3], image_std=[0.9, 0.8, 0.7]
    )
    detector = Sam3Image(sam3, processor=processor)
    draw = torch.Generator().manual_seed(5)
    images = [torch.randint(256, (3, h, w), generator=draw, dtype=torch.uint8) for h, w in ((50, 21), (3, 90))]
    ready = detector.preprocess(images)
    assert ready.shape == (2, 3, SIZE, SIZE)
    mean, std = (torch.tensor(v)[:, None, None] for v in (processor.image_mean, processor.image_std))
    for image, one in zip(images, ready, strict=True):
        square = torch.nn.functional.interpolate(
            image[None].float(), (SIZE, SIZE), mode="bilinear", align_corners=False, antialias=True
        )[0]
        rounded = square.round().clamp(0, 255)  # uint8 in between, as torchvision resizes
        assert float((one - (rounded / 255 - mean) / std).abs().max()) <= 1.01 / 255 / 0.7
    grey = Sam3Image(sam3).preprocess([torch.full((3, 5, 9), 255, dtype=torch.uint8)])
    assert torch.equal(grey, torch.ones(1, 3, SIZE, SIZE))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(sam3: Sam3Model, pixels: Tensor, features: Tensor, dtype: torch.dtype) -> None:
    half = Sam3Model(sam3.config)
    half.load_state_dict(sam3.state_dict())
    detector = Sam3Image(half.to(dtype))
    seen = detector.encode_images(pixels[:1])
    ours, full = detector.detect(seen, features, LENGTHS), Sam3Image(sam3)
    expected = full.detect(full.encode_images(pixels[:1]), features, LENGTHS)
    assert ours.logits.dtype == dtype
    assert float((ours.logits - expected.logits).abs().max()) < 0.2 * float(expected.logits.abs().max())
    found = list(detector.segment(seen, features, LENGTHS, (17, 31), threshold=0.0))
    assert found[0].scores.dtype == torch.float64
    assert found[0].masks.shape == (16, 17, 31)


@pytest.mark.usefixtures("unchecked")
def test_what_does_not_fit_is_refused_in_one_line(detector: Sam3Image, vision: Vision, features: Tensor) -> None:
    one = vision[0]
    wrong = torch.zeros(5, 6, 48)
    with pytest.raises(ValueError, match=r"^these text features: 48 values a token, and this SAM3 reads 32;") as error:
        detector.segment(one, wrong, LENGTHS, (8, 8))  # at once, not when the first answer is asked for
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"^text encoder mine: 64 values a token"):
        detector.check_width(64, "text encoder mine")
    with pytest.raises(ValueError, match="lengths from 2 to 7 do not fit 6 tokens"):
        detector.detect(one, features, LENGTHS + torch.tensor([1, 0, 0, 0, 0]))
    with pytest.raises(ValueError, match="lengths from 0"):
        detector.detect(one, features, LENGTHS * 0)
    with pytest.raises(ValueError, match="5 phrases with 4 lengths"):
        detector.detect(one, features, LENGTHS[:4])
    with pytest.raises(ValueError, match="images of 16 x 32 pixels, and this SAM3 takes 32 x 32"):
        detector.encode_images(torch.zeros(1, 3, 16, 32))
    with pytest.raises(ValueError, match="chunk=0 must be at least 1"):
        detector.detect(one, features, LENGTHS, chunk=0)


def test_it_stays_frozen(detector: Sam3Image, vision: Vision, features: Tensor) -> None:
    assert not detector.train().training
    assert not any(module.training for module in detector.modules())
    assert not any(p.requires_grad for p in detector.parameters())
    assert not detector.detect(vision[0], features.clone().requires_grad_(), LENGTHS).logits.requires_grad
    assert not next(detector.segment(vision[0], features, LENGTHS, (8, 8), 0.0)).scores.requires_grad


def test_the_shipped_checkpoint_loads_without_its_text_encoder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    detector = Sam3Image.from_pretrained("checkpoints/sam3-tiny")
    assert (detector.size, detector.width, detector.dtype) == (112, 64, torch.float32)
    assert not any("text_encoder" in name for name, _ in detector.named_parameters())
    teacher = Sam3TextEncoder.from_pretrained(shipped("checkpoints/sam3-tiny"))
    batch = teacher.encode(["red circle", "star"], Tokenizer(32)).take(["star", "red circle", "star"])
    image = torch.full((3, 60, 90), 200, dtype=torch.uint8)
    found = list(
        detector.segment(detector.encode_images(detector.preprocess([image])), *batch, size=(60, 90), threshold=0.0)
    )
    assert [f.masks.shape for f in found] == [(16, 60, 90)] * 3
    same(found[0], found[2])


@pytest.fixture
def stored(sam3: Sam3Model, tmp_path: Path) -> Path:
    """A folder in transformers' layout."""
    sam3.save_pretrained(tmp_path / "stored")
    return tmp_path / "stored"


def test_a_stored_model_gives_the_same_features(
    stored: Path, detector: Sam3Image, vision: Vision, pixels: Tensor, features: Tensor
) -> None:
    again = Sam3Image.from_pretrained(stored)
    ours, expected = (
        d.detect(v[0], features, LENGTHS) for d, v in ((again, again.encode_images(pixels)), (detector, vision))
    )
    close(ours, expected)
    assert Sam3Image.from_pretrained(stored, dtype="bfloat16").dtype == torch.bfloat16


def test_the_detector_of_a_video_model_loads(
    stored: Path, pixels: Tensor, features: Tensor, vision: Vision, detector: Sam3Image
) -> None:
    weights = load_file(stored / "model.safetensors")
    weights = {f"detector_model.{k}": v for k, v in weights.items()} | {"tracker_model.x": torch.zeros(1)}
    save_file(weights, stored / "model.safetensors", metadata={"format": "pt"})
    config = {"model_type": "sam3_video", "detector_config": json.loads((stored / "config.json").read_text())}
    (stored / "config.json").write_text(json.dumps(config))
    again = Sam3Image.from_pretrained(stored)
    close(
        again.detect(again.encode_images(pixels)[0], features, LENGTHS), detector.detect(vision[0], features, LENGTHS)
    )


def test_folders_that_hold_no_sam3(stored: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="SAM3 'no/such/folder': no such file"):
        Sam3Image.from_pretrained("no/such/folder")
    with pytest.raises(FileNotFoundError, match=r"SAM3 'facebook/sam3'.*huggingface\.co/facebook/sam3.*local folder"):
        Sam3Image.from_pretrained("facebook/sam3")
    with pytest.raises(ValueError, match="no SAM3 in transformers' layout"):
        Sam3Image.from_pretrained(tmp_path)
    weights = load_file(stored / "model.safetensors")
    gone = "mask_decoder.semantic_projection.weight"
    save_file({k: v for k, v in weights.items() if k != gone}, stored / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=f"1 of its weights are missing, such as {gone}"):
        Sam3Image.from_pretrained(stored)
    whole = (stored / "model.safetensors").read_bytes()
    (stored / "model.safetensors").write_bytes(whole[:1000])
    with pytest.raises(ValueError, match="cannot be read as a safetensors file") as error:
        Sam3Image.from_pretrained(stored)
    assert "\n" not in str(error.value)


def test_the_text_encoder_takes_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    built, seen = Sam3Model.__init__, []

    def watched(self: Sam3Model, config: Any) -> None:
        built(self, config)
        seen.append({parameter.device.type for parameter in self.text_encoder.parameters()})

    monkeypatch.setattr(Sam3Model, "__init__", watched)
    sam3 = Sam3Image.from_pretrained("checkpoints/sam3-tiny")
    assert seen == [{"meta"}]
    assert not any(name.startswith(("text_encoder", "text_projection")) for name in sam3.model.state_dict())
