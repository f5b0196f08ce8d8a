"""Zero-shot detectors: the answers of transformers' own pipelines, one look at an image, prompts in any chunk."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from litetext.models.detectors import GroundingDino, Owlv2, calibrate, load_detector, uncalibrate
from tests.fixtures.detectors_world import by_hand, save_dino, save_owl

KINDS = ("dino", "llmdet", "owl")
PHRASES = ["red circle", "a big blue square", "circle", "Red square", "blue"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("detectors")
    return {
        "dino": save_dino(root / "dino"),
        "llmdet": save_dino(root / "llmdet", mm=True),
        "owl": save_owl(root / "owl"),
    }


@pytest.fixture(scope="module")
def loaded(folders: dict[str, Path]) -> dict[str, Any]:
    return {kind: load_detector(folder) for kind, folder in folders.items()}


def image(height: int, width: int) -> Tensor:
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(height))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(50, 80), (90, 40)])
def test_boxes_and_scores_are_those_of_transformers(
    kind: str, size: tuple[int, int], folders: dict[str, Path], loaded: dict[str, Any]
) -> None:
    found = loaded[kind].detect(image(*size), PHRASES, 0.0, chunk=2)
    assert len(found) == len(PHRASES)
    for phrase, part in zip(PHRASES, found, strict=True):
        said = phrase if kind == "owl" else phrase.lower()
        scores, boxes = by_hand(folders[kind], image(*size), said, -1.0)
        torch.testing.assert_close(part.scores, scores.double(), rtol=0, atol=1e-5)
        torch.testing.assert_close(part.boxes, boxes.double(), rtol=0, atol=1e-5)
    assert len({tuple(part.scores.tolist()) for part in found}) == len(PHRASES), "phrases differ"


@pytest.mark.parametrize("kind", KINDS)
def test_a_threshold_keeps_what_reaches_it(kind: str, folders: dict[str, Path], loaded: dict[str, Any]) -> None:
    (whole,) = loaded[kind].detect(image(50, 80), ["circle"], 0.0)
    least = float(whole.scores.median())
    (part,) = loaded[kind].detect(image(50, 80), ["circle"], least)
    assert 0 < len(part.scores) < len(whole.scores)
    torch.testing.assert_close(part.scores, whole.scores[whole.scores >= least])
    scores, _ = by_hand(folders[kind], image(50, 80), "circle", least - 6e-6)
    assert len(scores) == len(part.scores)


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_change_nothing_and_the_image_is_seen_once(kind: str, loaded: dict[str, Any]) -> None:
    detector = loaded[kind]
    tower = detector.model.owlv2.vision_model if kind == "owl" else detector.model.model.backbone.backbone
    looks: list[int] = []
    hook = tower.register_forward_hook(lambda *_: looks.append(1))
    at_once = detector.detect(image(50, 80), PHRASES, 0.0, chunk=16)
    assert len(looks) == 1
    singly = detector.detect(image(50, 80), PHRASES, 0.0, chunk=1)
    assert len(looks) == 2
    hook.remove()
    for one, other in zip(at_once, singly, strict=True):
        torch.testing.assert_close(one.scores, other.scores, rtol=0, atol=1.1e-5)
        torch.testing.assert_close(one.boxes, other.boxes, rtol=0, atol=1.1e-5)


def test_each_phrase_is_encoded_once_by_owlv2(folders: dict[str, Path]) -> None:
    detector = load_detector(folders["owl"])
    assert isinstance(detector, Owlv2)
    encoded: list[int] = []
    detector.model.owlv2.text_model.register_forward_hook(lambda *_: encoded.append(1))
    for _ in range(3):
        detector.detect(image(50, 80), ["circle", "circle"], 0.0)
    assert len(encoded) == 1


def test_phrases_in_one_prompt_get_the_scores_of_their_own_tokens(folders: dict[str, Path]) -> None:
    from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

    detector = load_detector(folders["dino"], together=3)
    found = detector.detect(image(50, 80), PHRASES[:3], 0.0)
    processor = AutoProcessor.from_pretrained(folders["dino"])
    model = AutoModelForZeroShotObjectDetection.from_pretrained(folders["dino"]).eval()
    inputs = processor(images=image(50, 80), text="red circle. a big blue square. circle.", return_tensors="pt")
    with torch.no_grad():
        probabilities = model(**inputs).logits[0].sigmoid()
    stops = (inputs["input_ids"][0] == 1012).nonzero()[:, 0].tolist()
    spans = [(0, stops[0] + 1), (stops[0] + 1, stops[1] + 1), (stops[1] + 1, stops[2] + 2)]
    for part, (start, end) in zip(found, spans, strict=True):
        wanted = probabilities[:, start:end].amax(1).double()
        torch.testing.assert_close(part.scores, wanted, rtol=0, atol=1e-5)
    alone = load_detector(folders["dino"]).detect(image(50, 80), PHRASES[:3], 0.0)
    assert not torch.equal(alone[0].scores, found[0].scores), "phrases of one prompt are heard together"


def test_prompts_hold_no_more_than_the_model_takes(folders: dict[str, Path]) -> None:
    detector = load_detector(folders["dino"], together=100)
    assert isinstance(detector, GroundingDino)
    phrases = ["circle"] * 20 + ["r " * 60] + ["x.y red."]
    prompts = list(detector._prompts(phrases))
    assert sum(len(prompt.spans) for prompt in prompts) == len(phrases)
    assert len(prompts) > 1
    assert max(len(prompt.ids) for prompt in prompts) <= 32
    assert len(detector.detect(image(50, 80), phrases, 0.0)) == len(phrases)
    long = load_detector(folders["owl"]).detect(image(50, 80), ["a very long phrase of many letters", ""], 0.0)
    assert len(long) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_no_phrases_find_nothing(kind: str, loaded: dict[str, Any]) -> None:
    assert loaded[kind].detect(image(50, 80), [], 0.0) == []


@given(st.floats(0.05, 0.95), st.lists(st.integers(0, 100_000), min_size=1, max_size=20))
def test_stretching_moves_the_threshold_to_a_half_and_keeps_the_order(least: float, numbers: list[int]) -> None:
    scores = torch.tensor(sorted(numbers), dtype=torch.float64) / 1e5
    moved = calibrate(scores, least)
    assert bool((moved.diff() >= 0).all())
    assert bool(((moved >= 0) & (moved <= 1)).all())
    assert bool((moved[scores >= least] >= 0.5).all())
    assert bool((moved[scores < least - 2e-5] < 0.5).all())
    back = torch.tensor([uncalibrate(score, least) for score in moved.tolist()], dtype=torch.float64)
    torch.testing.assert_close(back, scores, rtol=0, atol=1.1e-5)
    torch.testing.assert_close(calibrate(scores, 0.5), scores)


@pytest.mark.parametrize(
    ("file", "told"), [("config.json", "config.json"), ("model.safetensors", "as a safetensors file")]
)
def test_damaged_folders_are_refused(file: str, told: str, folders: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(folders["owl"], copy)
    (copy / file).write_bytes((copy / file).read_bytes()[:50])
    with pytest.raises(ValueError, match=told):
        load_detector(copy)


def test_other_models_and_missing_ones_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    with pytest.raises(ValueError, match=r"'sam3'.*detectors are grounding-dino"):
        load_detector("checkpoints/sam3-tiny")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_detector("nowhere")
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(folders["owl"], copy)
    state = load_file(copy / "model.safetensors")
    state.pop("box_head.dense0.weight")
    save_file(state, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"no whole detector.*box_head\.dense0\.weight"):
        load_detector(copy)


def test_the_estimate_of_memory_is_about_what_a_prompt_takes(loaded: dict[str, Any]) -> None:
    from torch.profiler import ProfilerActivity, profile

    def peak(prompts: int) -> int:
        phrases = [f"{'red ' * 8}{letter}" for letter in "abcdefghijklmnopqrst"[:prompts]]
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
            loaded["dino"].detect(image(50, 80), phrases, 0.0, chunk=prompts)
        events: Any = seen.profiler.kineto_results.events()  # type: ignore[union-attr]
        steps = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
        return int(torch.tensor([step for _, step in steps]).cumsum(0).max())

    each, estimate = (peak(8) - peak(4)) / 4, loaded["dino"].prompt_bytes(50, 80)
    assert 0.9 * each < estimate < 1.5 * each
