"""Everything that computes runs on a device that is not the CPU, and how often the host waits for it there."""

import copy
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from litetext.data.images.datamodule import SegDataModule
from litetext.data.prompts.datamodule import PromptDataModule
from litetext.data.shapes.veval import write_video_shapes
from litetext.data.videos.datamodule import VideoDataModule
from litetext.models.text.bank import load_bank, make_bank, save_bank
from litetext.models.text.compact import save_compact
from litetext.models.text.fast import FastStudent
from litetext.models.text.loading import load_text_encoder
from litetext.models.text.mobileclip import MobileClipText
from litetext.modules.distill import DistillModule
from litetext.modules.seg_eval import SegEvalModule
from litetext.modules.video_eval import VideoEvalModule
from litetext.segmenter import Segmenter
from tests.fixtures.rehearsal import NAME, OnDevice, Waits, rehearsal, trainer
from tests.fixtures.tiny_video import SIDE, video_model

SHAPES = {"shapes": "shapes:60"}
TINY_STUDENT = "checkpoints/student-tiny/student.ckpt"
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")

READS = {
    "distillation, a training step, 32-true": 0,
    "distillation, a training step, bf16-mixed": 0,
    "distillation, a training step, 16-mixed": 1,  # torch's gradient scaler
    "distillation, a validation batch": 0,
    "test on images, a chunk of phrases of one text encoder": 4,
    "test on images, a phrase that finds something": 1,
    "videos with linked detections, a chunk of phrases in a frame": 4,
    "videos with linked detections, a phrase that finds something in a frame": 1,
    "a student encoding a batch of 128 phrases": 1,
    "a fast student, the same": 2,
    "a compact student, the same": 1,
    "a phrase bank": 0,
}
"""How often the host reads from the device, and so waits for it; the table of the guide on devices."""


class Steps(Callback):
    """Counts each step by itself."""

    def __init__(self, waits: Waits) -> None:
        self.waits, self.train, self.held_out, self.test = waits, [], [], []

    def _begin(self, *_: Any) -> None:
        self.waits.clear()

    on_train_batch_start = on_validation_batch_start = on_test_batch_start = _begin

    def on_train_batch_end(self, *_: Any) -> None:
        self.train.append((Counter(self.waits.read), Counter(self.waits.sent)))

    def on_validation_batch_end(self, *_: Any) -> None:
        self.held_out.append(Counter(self.waits.read))

    def on_test_batch_end(self, *_: Any) -> None:
        self.test.append(Counter(self.waits.read))


def student(padding: Any = "masked") -> MobileClipText:
    torch.manual_seed(0)
    return MobileClipText("nano", layers=1, repmixer=True, kernel_size=3, padding=padding)


def distil(device: str, teacher: Path, folder: Path, features: Any, precision: str, padding: Any, workers: int) -> Any:
    """A short fit; the module, and what each step read where it ran on the device."""
    module = DistillModule(
        student(padding), str(teacher), teacher_features=features, features_dir=str(folder), lr=0.01, scale_lr=False
    )
    data = PromptDataModule(SHAPES, batch_size=8, val_fraction=0.3, num_workers=workers, seed=0)
    options: dict[str, Any] = {"max_epochs": 1, "gradient_clip_val": 1.0}
    if device == "cpu":
        from lightning.pytorch import Trainer

        quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
        Trainer(accelerator="cpu", num_sanity_val_steps=0, **(options | quiet)).fit(module, data)  # type: ignore[arg-type]
        return module, None
    with rehearsal() as waits:
        steps = Steps(waits)
        trainer(callbacks=[steps], precision=precision, **options).fit(module, data)
        return module, steps


@pytest.mark.parametrize(
    ("features", "precision", "padding", "workers"),
    [
        ("stored", "32-true", "masked", 0),
        ("stored", "bf16-mixed", "transformers", 1),
        ("stored", "16-mixed", "masked", 0),
        ("live", "32-true", "reference", 0),
        ("live", "bf16-mixed", "masked", 0),
    ],
)
def test_a_student_learns_without_a_wait(
    features: str, precision: str, padding: str, workers: int, teacher_file: Path, tmp_path: Path, unchecked: None
) -> None:
    torch.manual_seed(0)
    module, steps = distil(NAME, teacher_file, tmp_path, features, precision, padding, workers)
    assert len(steps.train) >= 3
    for read, sent in steps.train[1:]:  # the first step makes the optimizer's state, and sums of the logs
        assert read.total() == READS[f"distillation, a training step, {precision}"], read
        assert not sent
    assert all(read.total() == READS["distillation, a validation batch"] for read in steps.held_out), steps.held_out
    if precision == "32-true":
        torch.manual_seed(0)
        alone, _ = distil("cpu", teacher_file, tmp_path / "cpu", features, precision, padding, 0)
        for name in ("mse", "cosine"):  # not the weights: where a gradient is nearly 0, AdamW makes much of its sign
            assert module.scores[name] == pytest.approx(alone.scores[name], rel=0.02, abs=1e-3)


def test_a_gradient_that_is_not_finite_stops_the_run_late_and_harms_nothing(
    teacher_file: Path, tmp_path: Path, unchecked: None
) -> None:
    class Spoils(Callback):
        weights: Any = None

        def on_after_backward(self, _: Any, module: Any) -> None:
            if module.trainer.global_step == 1:
                module.student.projector.bias.grad.fill_(float("nan"))
                self.weights = copy.deepcopy({k: p.held.clone() for k, p in module.student.named_parameters()})

        def on_train_batch_end(self, _: Any, module: Any, *rest: Any) -> None:
            if module.trainer.global_step == 2:
                assert all(torch.equal(p.held, self.weights[k]) for k, p in module.student.named_parameters())

    module = DistillModule(student(), str(teacher_file), features_dir=str(tmp_path))
    data = PromptDataModule(SHAPES, batch_size=8, val_fraction=0.3)
    with rehearsal(), pytest.raises(ValueError, match="a gradient is not finite at step 1; the student diverged"):
        trainer(max_epochs=1, callbacks=[Spoils()]).fit(module, data)


@pytest.mark.parametrize("dtype", ["auto", "float32"])
def test_images_are_segmented(dtype: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unchecked: None) -> None:
    monkeypatch.chdir(tmp_path)
    module = SegEvalModule(text_encoders={"student": TINY_STUDENT}, pictures=0, dtype=dtype)
    data = SegDataModule("shapes:1", subsets=["crowded"])
    with rehearsal() as waits:
        steps = Steps(waits)
        trainer(callbacks=[steps]).test(module, data)
    (read,) = steps.test
    found = sum(count for line, count in read.items() if line.endswith(" _instances"))
    assert 0 < found <= 2 * len(data.images[0].pairs)
    chunk = READS["test on images, a chunk of phrases of one text encoder"]
    assert read.total() == 2 * chunk + found * READS["test on images, a phrase that finds something"], read
    assert module.results["dtype"] == ("bfloat16" if dtype == "auto" else "float32")
    assert module.sam3 is not None
    assert {p.dtype for p in module.sam3.parameters()} == {getattr(torch, module.results["dtype"])}
    entry = module.results["encoders"]["teacher"]["average"]
    assert entry["CG_F1"] > 80


def test_videos_with_linked_detections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unchecked: None) -> None:
    monkeypatch.chdir(tmp_path)
    root = write_video_shapes(tmp_path / "v", 1, frames=4).folder
    with rehearsal() as waits:
        steps = Steps(waits)
        trainer(callbacks=[steps]).test(VideoEvalModule(tracker="links"), VideoDataModule(str(root)))
    (read,) = steps.test
    found = sum(count for line, count in read.items() if line.endswith(" track"))
    assert found
    chunk = READS["videos with linked detections, a chunk of phrases in a frame"]
    each = READS["videos with linked detections, a phrase that finds something in a frame"]
    assert read.total() == 4 * chunk + found * each, read


def test_videos_with_sam3s_own_tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unchecked: None) -> None:
    from transformers import Sam3ImageProcessor

    monkeypatch.chdir(tmp_path)
    video_model().save_pretrained("own")
    Sam3ImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained("own")
    root = write_video_shapes(tmp_path / "v", 1, frames=4).folder
    (file,) = (root / "annotation").glob("*.json")
    content = json.loads(file.read_text())
    # One phrase: each costs hundreds of small operations a frame.
    (category,) = {mark["category_id"] for mark in content["annotations"][:1]}
    for kind in ("video_np_pairs", "annotations"):
        content[kind] = [one for one in content[kind] if one["category_id"] == category]
    file.write_text(json.dumps(content))
    with rehearsal() as waits:
        steps = Steps(waits)
        trainer(callbacks=[steps]).test(VideoEvalModule("own", tracker="sam3"), VideoDataModule(str(root)))
    (read,) = steps.test
    assert read.total()  # nearly all of them are transformers' own
    ours = sum(count for line, count in read.items() if "_det_track_one_frame" not in line)
    assert ours < 0.3 * read.total()


def test_the_segmenter_finds_the_same(unchecked: None) -> None:
    image = torch.full((3, 90, 120), 255, dtype=torch.uint8)
    image[:, 20:60, 30:70] = torch.tensor([220, 30, 30], dtype=torch.uint8)[:, None, None]
    phrases = ["red square", "blue circle"]
    expected = Segmenter("shapes", device="cpu", threshold=0.2)(image, phrases)
    with rehearsal():
        found = Segmenter("shapes", device=NAME, threshold=0.2)(image, phrases)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.scores, other.scores, rtol=0, atol=1e-4)
        assert one.rles == other.rles


ENCODERS: dict[str, Callable[[Path], Any]] = {
    "a student encoding a batch of 128 phrases": lambda _: student().eval(),
    "a fast student, the same": lambda _: FastStudent(student().eval(), "float32"),
    "a compact student, the same": lambda folder: _compact(folder),
}


def _compact(folder: Path) -> Any:
    save_compact(student().eval(), folder / "compact")
    return load_text_encoder(folder / "compact")


@pytest.mark.parametrize("name", ENCODERS)
def test_text_encoders(name: str, tmp_path: Path, unchecked: None) -> None:
    phrases = ["white dog", "the red circle with stripes", "cat"]
    encoder = ENCODERS[name](tmp_path)
    expected = encoder.encode(phrases)
    with rehearsal() as waits:
        encoder.to(NAME)
        found = encoder.encode(phrases)
        assert waits.read.total() == READS[name], waits.read
        assert isinstance(next(encoder.parameters()), OnDevice)
    for one, other in zip(found.rows, expected.rows, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_a_bank_needs_no_device(tmp_path: Path, unchecked: None) -> None:
    with rehearsal() as waits:
        save_bank(make_bank(student().eval().to(NAME), "student", ["white dog", "cat"]), tmp_path / "bank.safetensors")
        waits.clear()
        assert len(load_bank(tmp_path / "bank.safetensors").encode(["cat"])["cat"]) == 3  # tokens
        assert waits.read.total() == READS["a phrase bank"]


def test_an_encoder_is_audited(unchecked: None) -> None:
    from litetext.audit.corpus import tokenize_corpus
    from litetext.audit.encoder import encoder_parts
    from litetext.audit.options import AuditOptions, Parts
    from litetext.audit.robustness import drawn_images, softmax_robustness
    from litetext.data.prompts.corpora import read_prompts
    from litetext.models.sam3.image import Sam3Image

    prompts = list(read_prompts("shapes", "shapes:60").prompts)
    options, parts = AuditOptions({"shapes": "shapes:60"}, sample=60), Parts(lambda part, done: None)
    encoder = load_text_encoder(TINY_STUDENT)
    corpora = {"shapes": tokenize_corpus(prompts, encoder.tokenize)}
    expected = encoder_parts(encoder, corpora, options, Parts(lambda part, done: None))
    with rehearsal():
        encoder.to(NAME)
        found = encoder_parts(encoder, corpora, options, parts)
        sam3 = Sam3Image.from_pretrained("checkpoints/sam3-tiny").to(NAME)
        teacher = load_text_encoder("checkpoints/sam3-tiny").to(NAME)
        told = softmax_robustness(sam3, drawn_images(1), prompts[:4], teacher, {"student": encoder}, [0.1])
    assert not parts.failed
    assert found.keys() == expected.keys()
    assert found["order"].keys() == expected["order"].keys()
    assert told["noise"]["0.1"]["output"] > 0
    assert told["students"]["student"]["input"] > 0


def test_the_device_is_strict(unchecked: None) -> None:
    with rehearsal() as waits:
        there = torch.ones(3).to(NAME)
        with pytest.raises(RuntimeError, match="tensors on two devices"):
            there + torch.ones(3)
        with pytest.raises(TypeError, match="no float64"):
            there.double()
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
        waits.clear()
        assert float(there.sum()) == 3
        assert there[there > 0].tolist() == [1, 1, 1]
        assert torch.ones(2).pin_memory().to(NAME).cpu().sum() == 2
        assert (waits.read.total(), waits.sent.total(), waits.pinned.total()) == (4, 0, 1)


def test_the_guide_shows_these_numbers() -> None:
    guide = Path(__file__).parent.parent / ".docs/pages/guides/devices.md"
    if not guide.is_file():
        pytest.skip("the pages are not here")
    rows = [line for line in guide.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    shown = {cells[1]: int(cells[2]) for line in rows if (cells := [c.strip() for c in line.split("|")])[2].isdigit()}
    assert shown == READS
