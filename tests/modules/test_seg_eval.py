"""`litetext test`: a frozen SAM3 before many text encoders, from images to results.json."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from litetext.cli import main
from litetext.data.images.items import ImagePairs, Pair, SegItem
from litetext.metrics.cgf1 import PhraseCounts
from litetext.models.sam3.image import Sam3Image
from litetext.modules.records import Records, sides_of
from litetext.modules.seg_eval import SegEvalModule, _Waiting
from litetext.saco.instances import Instances, Truth
from tests.fixtures.copies import as_command, begun, ranks
from tests.fixtures.detectors_world import save_dino
from tests.fixtures.kills import wait_until
from tests.fixtures.runs import Answer

TEST = ("test", "--config", "shapes.yaml", "--data.root", "shapes:2", "--trainer.enable_progress_bar", "false")
TWO = ("--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp")
RESULTS = Path("lightning_logs/shapes/results.json")
SUBSETS = ("attributes", "crowded", "common", "word_order")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the embedded benchmark was scored, with a detector beside the text encoders."""
    folder = tmp_path_factory.mktemp("done")
    save_dino(folder / "dino")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([*asked(folder), "--model.pictures", "1"]) == 0
    return folder


def with_three_cores(argv: list[str]) -> int:
    """`main` on a machine that may have less."""
    os.cpu_count = lambda: 3
    return main(argv)


def asked(done: Path) -> tuple[str, ...]:
    """What was run there."""
    return (*TEST, "--model.detectors.dino", str(done / "dino"))


def test_results_are_those_of_the_predictions_files(
    done: Path, tmp_path: Path, litetext: Callable[..., Answer]
) -> None:
    results = json.loads((done / RESULTS).read_text())
    assert (results["partial"], results["limited"], results["unofficial"]) == (False, False, [])
    assert results["left_out"] == 0
    for name, kinds in {"teacher": ["segm", "bbox"], "student": ["segm", "bbox"], "dino": ["bbox"]}.items():
        entry = results["encoders"][name]
        assert entry["iou"] == kinds[0]
        assert set(entry["subsets"]) == set(SUBSETS)
        for subset in SUBSETS:
            gt = [str(done / f"checkpoints/shapes/2/gold_{subset}_merged_{a}_release_test.json") for a in "abc"]
            found = done / f"lightning_logs/shapes/predictions/{name}/{subset}.json"
            output = tmp_path / "scores.json"
            answer = litetext("score", "--gt", *gt, "--predictions", str(found), "--output", str(output))
            assert answer.code == 0, answer.err
            official: dict[str, dict[str, float]] = json.loads(output.read_text())
            assert [kind for kind in ("segm", "bbox") if official.get(kind) is not None] == kinds
            stored = results["official"][name][subset]
            named = {f"cgF1_eval_{kind}_{key}": value for kind in kinds for key, value in official[kind].items()}
            assert stored == named
            for kind in kinds:
                shown = (entry if kind == entry["iou"] else entry[kind])["subsets"][subset]
                assert shown["CG_F1"] == pytest.approx(100 * official[kind]["cgF1"], abs=1e-9)
                assert shown["IL_MCC"] == pytest.approx(official[kind]["IL_MCC"], abs=1e-12)
    counted = [p for s in SUBSETS for p in predictions(done, "dino", s) if p["score"] >= 0.5]
    assert counted, "the detector finds something"
    assert not any("segmentation" in p for p in counted)
    # Eight images say little, but a segmenter that hears nothing has 0.
    assert results["encoders"]["teacher"]["average"]["CG_F1"] > 50
    assert results["encoders"]["student"]["average"]["retention"] > 0.9
    assert results["encoders"]["student"]["text_parameters"] == 359_968


def predictions(done: Path, name: str, subset: str) -> list[dict[str, Any]]:
    return json.loads((done / f"lightning_logs/shapes/predictions/{name}/{subset}.json").read_text())


def test_pictures_and_panels(done: Path) -> None:
    from PIL import Image
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for subset in SUBSETS:
        (picture,) = (done / "lightning_logs/shapes/pictures" / subset).glob("*.png")
        width, height = Image.open(picture).size
        assert width > 2 * height
    panels = EventAccumulator(str(done / "lightning_logs/shapes"))
    panels.Reload()
    shown = panels.Tags()
    assert {"teacher/CG_F1", "student/retention", "student/boxes/CG_F1", "dino/pmF1"} <= set(shown["scalars"])
    assert {f"{subset}/00" for subset in SUBSETS} <= set(shown["images"])
    assert "results/text_summary" in shown["tensors"]


def test_an_interrupted_run_goes_on_and_ends_the_same(
    done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, litetext: Callable[..., Answer]
) -> None:
    monkeypatch.chdir(tmp_path)
    segment, calls = SegEvalModule.segment, []

    def dies(self: SegEvalModule, item: Any) -> Any:
        if len(calls) == 5:
            raise ValueError("struck down")
        calls.append(item.file_name)
        return segment(self, item)

    with monkeypatch.context() as patch:
        patch.setattr(SegEvalModule, "segment", dies)
        assert litetext(*asked(done), "--model.pictures", "0").code == 2
    assert not RESULTS.exists()

    def counts(self: SegEvalModule, item: Any) -> Any:
        calls.append(item.file_name)
        return segment(self, item)

    with monkeypatch.context() as patch:
        patch.setattr(SegEvalModule, "segment", counts)
        answer = litetext(*asked(done), "--model.chunk", "3", "--model.pictures", "0")
    assert answer.code == 0
    assert len(calls) == 8, "what was done before the interruption is not done again"
    assert json.loads(RESULTS.read_text()) == json.loads((done / RESULTS).read_text())
    # What a limit of Lightning's leaves out is not asked.
    answer = litetext(*asked(done), "--trainer.limit_test_batches", "2", "--model.pictures", "0")
    results = json.loads(RESULTS.read_text())
    assert (results["partial"], results["limited"], results["left_out"]) == (True, True, 0)
    assert "partial: 0 pairs were left out, others unasked by a limit" in answer.out
    # Another threshold is another evaluation.
    calls.clear()
    with monkeypatch.context() as patch:
        patch.setattr(SegEvalModule, "segment", counts)
        assert litetext(*asked(done), "--model.threshold", "0.7", "--model.pictures", "0").code == 0
    assert len(calls) == 8


@pytest.mark.usefixtures("copied")
def test_three_processes_give_the_same_results(done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    three = [*asked(done), "--model.pictures", "0", *TWO, "--trainer.devices", "3"]
    ranks(with_three_cores, three, count=3, said=tmp_path)
    assert (tmp_path / RESULTS).read_bytes() == (done / RESULTS).read_bytes()
    for path in (done / RESULTS.parent / "predictions").rglob("*.json"):
        assert (tmp_path / path.relative_to(done)).read_bytes() == path.read_bytes()


@pytest.mark.usefixtures("copied")
def test_sigterm_ends_both_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    child = begun(as_command, [*TEST, "--model.text_encoders", "null", *TWO], said=tmp_path / "log")
    there = wait_until(lambda: list(tmp_path.glob("lightning_logs/shapes/records/*/*.jsonl")), child)
    assert there, (tmp_path / "log").read_text()
    child.terminate()
    child.join(60)
    assert child.exitcode == -signal.SIGTERM
    assert not (tmp_path / RESULTS).exists()


def test_one_bad_image_costs_only_its_pairs(
    done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, litetext: Callable[..., Answer]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert litetext("shapes", "world", "--images", "2").code == 0
    broken = next(Path("world/images/common").rglob("*.png"))
    broken.write_bytes(broken.read_bytes()[:100])
    gone = next(Path("world/images/crowded").rglob("*.png"))
    gone.unlink()
    argv = (*TEST[:3], "--data.root", "world", "--trainer.enable_progress_bar", "false", "--model.pictures", "0")
    missing = litetext(*argv)
    assert missing.code == 2
    assert gone.name in missing.err.splitlines()[-1]
    assert "--data.skip_missing_images true" in missing.err.splitlines()[-1]
    answer = litetext(*argv, "--data.skip_missing_images", "true")
    assert answer.code == 0, answer.err
    results = json.loads(RESULTS.read_text())
    assert results["partial"] is True
    assert results["left_out"] > 8
    assert "partial:" in answer.out


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--model.chunk", "0"], ["model.chunk is 0"]),
        (["--model.threshold", "1.5"], ["model.threshold is 1.5"]),
        (["--model.nms", "2"], ["model.nms is 2.0; choose an IoU from 0 to 1"]),
        (["--model.pictures", "-1"], ["model.pictures is -1"]),
        (["--model.text_encoders.teacher", "x"], ["model.text_encoders.teacher"]),
        (["--model.text_encoders.mine", "nowhere.ckpt"], ["nowhere.ckpt"]),
        (["--model.detectors.student", "x"], ["model.detectors.student"]),
        (["--model.detectors.owl", "nowhere"], ["nowhere"]),
        (["--model.detectors.owl", "x", "--model.detector_thresholds.owl", "1"], ["detector_thresholds.owl is 1"]),
        (["--model.detector_thresholds.owl", "0.3"], ["model.detector_thresholds.owl", "no such name"]),
        (["--model.phrases_per_prompt", "0"], ["model.phrases_per_prompt is 0"]),
        (["--model.memory_gb", "0"], ["model.memory_gb is 0"]),
        (["--model.sam3", "null"], ["model.sam3 is null"]),
        (["--model.sam3", "null", "--model.text_encoders", "null"], ["nothing to score"]),
        (["--model.sam3", "nowhere"], ["nowhere"]),
        (["--data.root", "shapes:none"], ["data.root is 'shapes:none'"]),
        (["--data.root", "nowhere"], ["nowhere"]),
    ],
)
def test_bad_options_end_in_one_line(
    options: list[str],
    told: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    litetext: Callable[..., Answer],
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = litetext(*TEST, *options)
    assert answer.code == 2
    last = answer.err.strip().splitlines()[-1]
    assert last.startswith("litetext: error: ")
    for part in told:
        assert part in last
    assert "Traceback" not in answer.err


def test_a_text_encoder_of_another_width_is_named(
    teacher_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, litetext: Callable[..., Answer]
) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(teacher_file)
    cut = {key: value[:32].clone() if value.shape[:1] == torch.Size([64]) else value for key, value in state.items()}
    save_file(cut, tmp_path / "narrow.safetensors")
    monkeypatch.chdir(tmp_path)
    answer = litetext(*TEST, "--model.text_encoders.narrow", "narrow.safetensors")
    assert answer.code == 2
    assert "narrow" in answer.err.strip().splitlines()[-1]


def test_without_a_config_it_is_sa_co_gold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, litetext: Callable[..., Answer]
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = litetext("test")
    assert answer.code == 2
    assert "data/sa-co-gold" in answer.err.strip().splitlines()[-1]


def test_pairs_that_an_annotator_left_incomplete_are_asked_and_not_counted() -> None:
    box = [0.1, 0.1, 0.5, 0.5]
    hit, nothing = Instances([0.9], [box], None), Instances([], [], None)
    there, absent = Truth(None, [box], [False]), Truth(None, [], [])
    pairs = [
        Pair(1, "a", (there, there)),
        Pair(2, "b", (absent, absent)),
        Pair(3, "c", (there, there._replace(exhaustive=False)), evaluated=False),
        Pair(4, "d", (absent, absent._replace(exhaustive=False)), evaluated=False),
    ]
    record = {"teacher": {1: hit, 2: nothing, 3: nothing, 4: hit}}
    module = SegEvalModule()
    module.place = {("teacher", "own", "bbox"): 0}
    module.counts = torch.nn.ModuleList([PhraseCounts("bbox")])
    module.waiting.append(_Waiting(SegItem("own", "a.png", torch.zeros(3, 2, 2), pairs), "00", record, False))
    module._count_finished(0)
    counts: Any = module.counts[0]
    ids, rows = counts.rows()
    assert ids.tolist() == [1, 2]
    assert rows[:, :2].tolist() == [[1, 1], [0, 0]]
    image = ImagePairs("own", "a.png", Path("a.png"), 2, 2, pairs)
    asked = cast(Records, SimpleNamespace(keys={("own", "a.png"): "00"}))
    assert sides_of([image], asked, "own") == (1, 1)


def test_duplicates_are_suppressed_if_asked() -> None:
    from litetext.modules.seg_eval import SegEvalModule
    from litetext.saco.mask_threads import MaskThreads

    masks = torch.zeros(3, 10, 10, dtype=torch.bool)
    masks[0, :5] = masks[1, :6] = masks[2, 7:] = True  # the first two overlap by 5/6
    found = Instances(torch.tensor([0.8, 0.9, 0.7]).double(), torch.arange(12).reshape(3, 4).double(), masks)
    for nms, scores in ((None, [0.8, 0.9, 0.7]), (0.5, [0.9, 0.7]), (0.9, [0.8, 0.9, 0.7])):
        module = SegEvalModule(nms=nms)
        module.threads = MaskThreads(1)  # as `setup` makes them
        part = module._instances(found).result()
        module.threads.close()
        assert part.scores == pytest.approx(scores)
        assert part.masks is not None
        assert len(part.boxes) == len(part.masks) == len(scores)


def test_duplicates_of_a_model_are_suppressed_from_images_to_scores(
    tmp_path: Path, litetext: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def scored(run: str, *options: str) -> tuple[bytes, dict[str, Any]]:
        argv = ("--data.root", "shapes:1", "--data.subsets", "[common]", "--model.text_encoders", "null", *options)
        answer = litetext(
            "test", "--config", "shapes.yaml", "--trainer.enable_progress_bar", "false", "--run", run, *argv
        )
        assert answer.code == 0, answer.err
        folder = Path("lightning_logs", run)
        found = b"".join(path.read_bytes() for path in sorted(folder.glob("predictions/teacher/*.json")))
        return found, json.loads((folder / "results.json").read_text())["encoders"]["teacher"]

    monkeypatch.chdir(tmp_path)
    found, right = scored("once", "--model.nms", "0.5")
    segment = Sam3Image.segment

    def twice(self: Sam3Image, *arguments: Any) -> Any:
        for one in segment(self, *arguments):
            again = torch.cat([one.scores, 0.99 * one.scores])
            yield Instances(again, one.boxes.repeat(2, 1), one.masks.repeat(2, 1, 1))

    monkeypatch.setattr(Sam3Image, "segment", twice)
    doubled, wrong = scored("twice")
    assert doubled.count(b'"score"') >= 2 * found.count(b'"score"') > 0
    # The same run: what was stored without --nms is not taken for what is asked with it.
    kept, suppressed = scored("twice", "--model.nms", "0.5")
    assert kept == found
    assert suppressed["subsets"] == right["subsets"] != wrong["subsets"]
    told = json.loads(Path("lightning_logs/twice/results.json").read_text())["unofficial"]
    assert told == ["duplicates above an IoU of 0.5 suppressed (model.nms)"]
