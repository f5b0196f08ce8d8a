"""SAM3's own tracker with text features from outside: the masklets of transformers' iterator, at constant memory."""

import gc
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as rle
from torch import Tensor, nn
from torch.nn.functional import interpolate
from transformers import Sam3ImageProcessor, Sam3VideoProcessor
from transformers.models.sam3_video import modeling_sam3_video
from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoInferenceSession

from litetext.data.shapes.veval import write_video_shapes
from litetext.models.sam3.video import Sam3Video, has_tracker
from litetext.models.sam3.video_patches import cc_2d, generic_nms, patch_kernels
from litetext.models.text.encoder import TextBatch
from tests.fixtures.pixels import assert_same_masks, undecided
from tests.fixtures.runs import Answer
from tests.fixtures.tiny_video import SIDE, WIDTH, clip

FRAMES = 14


@pytest.fixture(scope="module")
def plain(home: Path) -> Sam3Video:
    """Without the geometry token."""
    return Sam3Video.from_pretrained(home, geometry_token=False)


@pytest.fixture(scope="module")
def tokens() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(1, 49000, (1, length), generator=generator) for length in (4, 6, 5)]


@pytest.fixture(scope="module")
def phrases(stock: Any, tokens: list[Tensor]) -> TextBatch:
    """The text encoder's own features."""
    lengths = torch.tensor([ids.shape[1] for ids in tokens])
    features = torch.zeros(len(tokens), int(lengths.max()), WIDTH)
    with torch.no_grad():
        for row, ids in zip(features, tokens, strict=True):
            row[: ids.shape[1]] = stock.detector_model.get_text_features(ids, return_dict=True).pooler_output[0]
    return TextBatch(features, lengths)


def some(batch: TextBatch, *which: int) -> TextBatch:
    return TextBatch(batch.features[list(which)], batch.lengths[list(which)])


def reference(
    stock: Any, ids: Tensor, frames: list[Tensor], monkeypatch: pytest.MonkeyPatch, fixed: bool = True
) -> tuple[dict[int, tuple[float, dict[int, np.ndarray]]], dict[int, set[int]]]:
    """Masks by object and frame as transformers' iterator and processor give them; removals by frame."""
    processor = Sam3ImageProcessor(size={"height": SIDE, "width": SIDE})
    video = processor(frames, return_tensors="pt", input_data_format="channels_first")["pixel_values"]
    session: Any = Sam3VideoInferenceSession(video, 48, 64, dtype=torch.float32)  # type: ignore[arg-type]
    session.add_prompt("it")
    session.prompt_input_ids[0], session.prompt_attention_masks[0] = ids, torch.ones_like(ids)
    if fixed:  # the objects of a frame are those from before its removals, for masks and for tracker scores
        one_frame, build, update = stock._det_track_one_frame, stock.build_outputs, stock.run_tracker_propagation
        known: list[int] = []

        def propagate(**options: Any) -> Any:
            known[:] = options["inference_session"].obj_ids
            return update(**options)

        def whole(**options: Any) -> Any:
            masks, scores, table, tracked = one_frame(**options)
            sure = table["obj_id_to_tracker_score_frame_wise"][options["frame_idx"]]
            sure.update({number: scores[number] for number in table["obj_ids"] if number not in known})
            sure.update(dict(zip(known, tracked, strict=False)))
            return {number: masks[number] for number in masks if number in table["obj_ids"]}, scores, table, tracked

        def built(**options: Any) -> Any:
            return build(**{**options, "inference_session": SimpleNamespace(obj_ids=list(known))})

        monkeypatch.setattr(stock, "run_tracker_propagation", propagate, raising=False)
        monkeypatch.setattr(stock, "build_outputs", built, raising=False)
        monkeypatch.setattr(stock, "_det_track_one_frame", whole, raising=False)
    finish = object.__new__(Sam3VideoProcessor)  # its tokenizer is not needed
    masks: dict[int, tuple[float, dict[int, np.ndarray]]] = {}
    removed: dict[int, set[int]] = {}
    with patch_kernels():
        for out in stock.propagate_in_video_iterator(session):
            removed[out.frame_idx] = set(out.removed_obj_ids)
            found = finish.postprocess_outputs(session, out)
            for number, score, one in zip(found["object_ids"].tolist(), found["scores"], found["masks"], strict=True):
                if one.any():
                    masks.setdefault(number, (float(score), {}))[1][out.frame_idx] = one.numpy()
    monkeypatch.undo()
    return masks, removed


def drawn(entry: dict[str, Any]) -> dict[int, np.ndarray]:
    return {t: rle.decode(one).astype(bool) for t, one in enumerate(entry["segmentations"]) if one is not None}


@contextmanager
def thresholds(model: Any) -> Iterator[dict[int, np.ndarray]]:
    """By frame, the pixels where some object that the model finds meanwhile has its threshold."""
    found: dict[int, np.ndarray] = {}
    whole = model._det_track_one_frame

    def noted(*args: Any, **options: Any) -> Any:
        answer = whole(*args, **options)
        for logits in answer[0].values():
            full = interpolate(logits.reshape(1, 1, *logits.shape[-2:]).float(), (48, 64), mode="bilinear")[0, 0]
            frame = options["frame_idx"]
            found[frame] = found.get(frame, np.zeros((48, 64), dtype=bool)) | undecided(full)
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "_det_track_one_frame", noted, raising=False)
        yield found


def same(
    entries: list[dict[str, Any]],
    wanted: dict[int, tuple[float, dict[int, np.ndarray]]],
    either: dict[int, np.ndarray],
) -> None:
    assert len(entries) == len(wanted)
    for entry, number in zip(entries, sorted(wanted), strict=True):
        score, masks = wanted[number]
        assert entry["score"] == pytest.approx(score, abs=1e-6)
        own = drawn(entry)
        nothing = np.zeros((48, 64), dtype=bool)
        for t in own.keys() | masks.keys():
            assert_same_masks(own.get(t, nothing), masks.get(t, nothing), either.get(t, nothing))


def test_it_finds_what_the_iterator_finds(
    stock: Any, plain: Sam3Video, tokens: list[Tensor], phrases: TextBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = clip(FRAMES)
    wanted, removed = reference(stock, tokens[0], frames, monkeypatch)
    with thresholds(plain.model) as either:
        (entries,) = plain.track(frames, {"own": some(phrases, 0)})["own"]
    same(entries, wanted, either)
    assert len(wanted) > 1
    assert max(len(masks) for _, masks in wanted.values()) > 8, "nothing was tracked for long"
    assert removed[FRAMES - 1], "nothing was taken back"
    assert not removed[FRAMES - 1] & wanted.keys()
    for entry in entries:
        absent = [one is None for one in entry["segmentations"]]
        assert [box == [0.0] * 4 for box in entry["bboxes"]] == absent
        assert [area == 0 for area in entry["areas"]] == absent


def test_on_the_frame_of_a_removal_masks_stay_with_their_objects(
    stock: Any, tokens: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The published code gives others there: the correction above, and ours, are not idle.
    frames = clip(FRAMES)
    wanted, removed = reference(stock, tokens[0], frames, monkeypatch)
    published, _ = reference(stock, tokens[0], frames, monkeypatch, fixed=False)
    others = [
        (number, t)
        for number, (_, masks) in wanted.items()
        for t, one in masks.items()
        if number in published and t in published[number][1] and not np.array_equal(one, published[number][1][t])
    ]
    assert others
    assert {t for _, t in others} <= {t for t in range(1, FRAMES) if removed[t] - removed[t - 1]}


def test_the_first_object_goes_and_the_others_keep_their_masks(
    plain: Sam3Video, phrases: TextBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Any = plain.model
    judge, build = model._process_hotstart, model.build_outputs
    known: list[int] = []
    seen: list[tuple[list[int], Tensor, dict[int, Tensor]]] = []

    def take_back(**options: Any) -> Any:
        gone, about = judge(**options)
        known[:] = options["inference_session"].obj_ids
        if options["frame_idx"] == 2:
            gone.add(known[0])
            about["removed_obj_ids"].add(known[0])
        return gone, about

    def built(**options: Any) -> Any:
        masks = build(**options)
        seen.append((list(known), options["tracker_low_res_masks_global"].clone(), masks))
        return masks

    monkeypatch.setattr(model, "_process_hotstart", take_back, raising=False)
    monkeypatch.setattr(model, "build_outputs", built, raising=False)
    plain.track(clip(3), {"a": some(phrases, 0)})
    numbers, tracked, masks = seen[2]
    assert len(numbers) > 2
    assert not torch.equal(tracked[0], tracked[1])
    for number, one in zip(numbers[1:], tracked[1:], strict=True):
        assert torch.equal(masks[number][0], one)


def test_a_phrase_does_not_depend_on_the_others(plain: Sam3Video, phrases: TextBatch) -> None:
    frames = clip(5)
    together = plain.track(frames, {"a": phrases, "b": some(phrases, 2, 0, 1)})
    assert together["a"] == [together["b"][k] for k in (1, 2, 0)]
    assert plain.track(frames, {"a": some(phrases, 1)})["a"] == together["a"][1:2]
    assert plain.track(frames, {"a": phrases}, chunk=2)["a"] == together["a"]  # memories lie elsewhere
    assert together["a"][0] != together["a"][1]
    assert plain.track([], {"a": phrases}) == {"a": [[], [], []]}


def test_a_frame_is_looked_at_once(home: Path, phrases: TextBatch) -> None:
    model = Sam3Video.from_pretrained(home)
    counts = {"vision_encoder": 0, "geometry_encoder": 0, "tracker_neck": 0}
    inner: Any = model.model
    places = {
        "vision_encoder": inner.detector_model.vision_encoder,
        "geometry_encoder": inner.detector_model.geometry_encoder.layers[0],
        "tracker_neck": inner.tracker_neck,
    }
    for name, part in places.items():

        def count(*_: Any, name: str = name) -> None:
            counts[name] += 1

        part.register_forward_hook(count)
    model.track(clip(3), {"a": some(phrases, 0, 1), "b": some(phrases, 1, 2)})
    assert set(counts.values()) == {3}
    model.track(clip(3), {"a": some(phrases, 0, 1)}, chunk=1)
    assert set(counts.values()) == {6}


def test_the_geometry_token_counts(home: Path, plain: Sam3Video, phrases: TextBatch) -> None:
    frames = clip(4)
    restored = Sam3Video.from_pretrained(home)
    with thresholds(restored.model) as either:
        ours = restored.track(frames, {"a": phrases})["a"]
    assert ours != plain.track(frames, {"a": phrases})["a"]
    # The other way to bring it back: an empty box in every call of the detector.
    detector: Any = plain.model.detector_model

    def ask(_: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        boxes = {"input_boxes": torch.full((1, 1, 4), 0.5), "input_boxes_labels": torch.full((1, 1), -10)}
        return args, {**options, **boxes}

    hook = detector.register_forward_pre_hook(ask, with_kwargs=True)
    try:
        other = plain.track(frames, {"a": phrases})["a"]
    finally:
        hook.remove()
    for entries, expected in zip(ours, other, strict=True):
        same(entries, {n: (e["score"], drawn(e)) for n, e in enumerate(expected)}, either)
    assert any(area for entries in ours for entry in entries for area in entry["areas"])


def alive() -> list[Any]:
    return [one for one in gc.get_objects() if type(one) is Sam3VideoInferenceSession]


class Counted:
    """Frames that measure the sessions on the way."""

    def __init__(self, frames: list[Tensor], at: tuple[int, ...]) -> None:
        self.frames, self.at, self.bytes = frames, at, {}

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[Tensor]:
        for t, frame in enumerate(self.frames):
            if t in self.at:
                sessions = alive()
                self.bytes[t] = sum(held(vars(one)) for one in sessions), sum(pointers(one) for one in sessions)
            yield frame


def held(content: Any) -> int:
    """Bytes of the distinct storages of tensors in nested containers, without pointers."""
    storages: dict[int, int] = {}
    todo = [content]
    while todo:
        one = todo.pop()
        if isinstance(one, Tensor):
            storages[one.untyped_storage().data_ptr()] = one.untyped_storage().nbytes()
        elif isinstance(one, dict):
            todo += [value for key, value in one.items() if key != "object_pointer"]
        elif isinstance(one, list | tuple):
            todo += one
        elif hasattr(one, "__dict__"):
            todo += vars(one).values()
    return sum(storages.values())


def pointers(session: Any) -> int:
    return sum(len(part) for outputs in session.output_dict_per_obj.values() for part in outputs.values())


def test_memory_does_not_grow_with_frames(home: Path, phrases: TextBatch) -> None:
    model = Sam3Video.from_pretrained(home, geometry_token=False)
    model.model.max_num_objects = 1  # so that their number is constant
    model.model.hotstart_delay = 0
    frames = Counted(clip(61), (20, 60))
    model.track(frames, {"a": some(phrases, 0)})
    (early, short), (late, long) = frames.bytes[20], frames.bytes[60]
    assert early > 0
    assert late <= 1.3 * early
    assert long <= short + 40 // 4  # one pointer at most for each renewed detection
    del frames
    gc.collect()
    assert not alive()


def test_kernels_are_lent_and_given_back() -> None:
    before = modeling_sam3_video.cv_utils_kernel
    with patch_kernels():
        assert modeling_sam3_video.cv_utils_kernel.generic_nms is generic_nms
    with pytest.raises(KeyError), patch_kernels():
        raise KeyError
    assert modeling_sam3_video.cv_utils_kernel is before
    ious = torch.tensor([[1.0, 0.6, 0.0], [0.6, 1.0, 0.6], [0.0, 0.6, 1.0]])
    assert generic_nms(ious, torch.tensor([0.9, 0.8, 0.7]), 0.5).tolist() == [0, 2]
    assert generic_nms(ious, torch.tensor([0.7, 0.9, 0.8]), 0.5).tolist() == [1]
    assert generic_nms(ious, torch.tensor([0.7, 0.9, 0.8]), 0.6).tolist() == [1, 2, 0]
    mask = torch.tensor([[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0, 0]], dtype=torch.uint8)[None, None]
    labels, areas = cc_2d(mask)
    assert areas[0, 0].tolist() == [[2, 0, 0, 2], [0, 2, 0, 2], [0, 0, 0, 0]]
    assert labels[0, 0, 0, 0] == labels[0, 0, 1, 1] != labels[0, 0, 0, 3]


def test_what_does_not_fit_is_named(
    home: Path,
    plain: Sam3Video,
    phrases: TextBatch,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    litetext: Callable[..., Answer],
) -> None:
    assert has_tracker(home)
    assert not has_tracker("checkpoints/sam3-tiny")
    with pytest.raises(ValueError, match="64 values a token, and this SAM3 reads 128"):
        plain.track(clip(1), {"a": TextBatch(torch.zeros(1, 2, 64), torch.tensor([2]))})
    with pytest.raises(ValueError, match="frame 1 has"):
        plain.track([*clip(1), torch.zeros(3, 8, 8, dtype=torch.uint8)], {"a": phrases})
    with pytest.raises(ValueError, match="has no weights of SAM3's tracker"):
        Sam3Video.from_pretrained("checkpoints/sam3-tiny")
    write_video_shapes(tmp_path / "v", 1, frames=4)
    monkeypatch.chdir(tmp_path)
    answer = litetext("test", "--config", "shapes_video.yaml", "--data.root", "v", "--model.tracker", "sam3")
    assert answer.code == 2, answer
    (told,) = [line for line in answer.err.splitlines() if line.startswith("litetext: error: ")]
    assert "model.tracker is sam3, and model.sam3 checkpoints/sam3-tiny has no weights of a tracker" in told
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("tracker", ["sam3", "auto"])
def test_the_command_tracks_with_it(
    tracker: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, litetext: Callable[..., Answer]
) -> None:
    root = write_video_shapes(tmp_path / "v", 1, frames=4).folder
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.yaml").write_text(
        "model:\n  class_path: litetext.modules.video_eval.VideoEvalModule\n"
        f"  init_args: {{sam3: {home}, tracker: {tracker}}}\n"
        "data:\n  class_path: litetext.data.videos.datamodule.VideoDataModule\n"
        f"  init_args: {{root: {root}, splits: all}}\n"
        "trainer: {accelerator: cpu, devices: 1, use_distributed_sampler: false, enable_progress_bar: false}\n"
    )
    answer = litetext("test", "--config", "own.yaml")
    assert answer.code == 0, answer.err
    run = tmp_path / "lightning_logs" / "own"
    assert f"tracker     SAM3's own, of {home}" in answer.out
    results = json.loads((run / "results.json").read_text())
    assert results["partial"] is False
    assert list(results["encoders"]) == ["teacher"]
    predicted = json.loads((run / "predictions/teacher/shapes_test.json").read_text())
    assert predicted
    assert {len(one["segmentations"]) for one in predicted} == {4}
