"""`litetext test` on videos: from frames to results.json, the same however it was run."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.utilities import rank_zero_only

from litetext.cli import main
from litetext.data.images.items import Skip
from litetext.data.shapes.veval import MEDIA, NAME, write_video_shapes
from litetext.data.videos.datamodule import VideoItem
from litetext.data.videos.frames import Frames, UnreadableFrame
from litetext.modules.resume_cache import ResumeCache
from litetext.modules.video_eval import VideoEvalModule
from litetext.saco.videos import Video, masklets
from tests.fixtures.copies import begun, finished, ranks
from tests.fixtures.kills import wait_until
from tests.fixtures.runs import Answer

RESULTS = Path("lightning_logs/shapes_video/results.json")
COLUMNS = ["CG_F1", "VL_MCC", "pmF1", "pHOTA", "pDetA", "pAssA", "TETA"]
VIDEOS, FRAMES = 3, 4


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video_shapes(tmp_path_factory.mktemp("drawn") / "v", VIDEOS, frames=FRAMES).folder


def command(root: Path) -> tuple[str, ...]:
    return (
        *("test", "--config", "shapes_video.yaml", "--data.root", str(root)),
        *("--trainer.enable_progress_bar", "false", "--model.min_hits", "2"),
    )


@pytest.fixture(scope="module")
def done(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the clips were scored."""
    folder = tmp_path_factory.mktemp("done")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(command(drawn)) == 0
    return folder


def written(folder: Path) -> dict[str, bytes]:
    run = folder / RESULTS.parent
    paths = [run / "results.json", *sorted((run / "predictions").rglob("*.json"))]
    return {str(path.relative_to(run)): path.read_bytes() for path in paths}


def test_results_are_those_of_the_predictions_files(
    done: Path, drawn: Path, tmp_path: Path, litetext: Callable[..., Answer]
) -> None:
    results = json.loads((done / RESULTS).read_text())
    assert results["partial"] is False
    for name in ("teacher", "student"):
        entry = results["encoders"][name]
        assert list(entry["subsets"]["shapes_test"]) == COLUMNS
        assert list(entry["bbox"]["subsets"]["shapes_test"]) == COLUMNS[:-1]
        found = done / RESULTS.parent / "predictions" / name / "shapes_test.json"
        answer = litetext(
            *("score", "--gt", str(drawn / "annotation" / NAME), "--predictions", str(found)),
            *("--output", str(tmp_path / "scores.json")),
        )
        assert answer.code == 0, answer.err
        official = json.loads((tmp_path / "scores.json").read_text())["dataset_results"]
        stored = results["official"][name]["shapes_test"]
        assert stored.keys() == official.keys()
        for key, value in official.items():
            assert stored[key] == pytest.approx(value, abs=1e-12), key
        assert entry["average"]["pHOTA"] == pytest.approx(100 * official["video_mask_all_phrase_HOTA"])
        assert entry["average"]["TETA"] == official["video_mask_teta"]
    # Three short clips say little, but a segmenter that hears nothing has 0.
    assert results["encoders"]["teacher"]["average"]["pHOTA"] > 25


@pytest.mark.usefixtures("copied")
def test_a_killed_run_goes_on_and_ends_the_same(
    done: Path, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    records = tmp_path / RESULTS.parent / "records"

    def answers() -> int:
        return sum(len(ResumeCache(folder, 0).known) for folder in records.glob("*"))

    running = begun(main, command(drawn))
    assert wait_until(answers, running)
    running.kill()
    running.join()
    assert not (tmp_path / RESULTS).exists(), "killed too late to show anything"
    before = answers()
    assert before < VIDEOS
    said = tmp_path / "said"
    assert finished(begun(main, command(drawn), said=said)), said.read_text()
    assert f"{before} of {VIDEOS} videos reused" in said.read_text()
    assert written(tmp_path) == written(done)


@pytest.mark.usefixtures("copied")
def test_two_processes_give_the_same_results(
    done: Path, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    two = ("--trainer.devices", "2", "--trainer.accelerator", "cpu", "--trainer.strategy", "ddp")
    ranks(main, [*command(drawn), *two], said=tmp_path)
    assert written(tmp_path) == written(done)


def test_a_frame_that_does_not_decode_costs_only_its_video(
    done: Path, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, litetext: Callable[..., Answer]
) -> None:
    root = Path(shutil.copytree(drawn, tmp_path / "v"))
    path = root / MEDIA / "shapes_00001" / "00002.jpg"
    path.write_bytes(path.read_bytes()[:60])
    monkeypatch.chdir(tmp_path)
    with pytest.warns(UserWarning, match="shapes_00001/00002.jpg: the image does not decode"):
        answer = litetext(*command(root))
    assert answer.code == 0, answer.err
    results = json.loads((tmp_path / RESULTS).read_text())
    assert results["partial"] is True
    assert results["left_out"] == 6
    kept, whole = (
        json.loads((folder / RESULTS.parent / "predictions/teacher/shapes_test.json").read_text())
        for folder in (tmp_path, done)
    )
    assert kept == [track for track in whole if track["video_id"] != 1]


def test_a_video_that_is_left_out_is_named_on_whichever_process(monkeypatch: pytest.MonkeyPatch) -> None:
    from litetext.modules import video_eval

    def track(*_: Any) -> Any:
        raise UnreadableFrame("00002.jpg: no such image")

    module: Any = VideoEvalModule()
    module.cache, module.tracker = SimpleNamespace(find=lambda _: None), SimpleNamespace(track=track)
    monkeypatch.setattr(video_eval, "video_key", lambda _: "00")
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    video = Video(7, ("00002.jpg",), 4, 4)
    item = VideoItem("own_test", 0, Frames(video, ()), [3], ["a dog"], masklets([], video, ""))
    with pytest.warns(UserWarning, match=r"left out: own_test: 7 \(id 3\): 00002.jpg: no such image"):
        module.test_step(item, 0)
    assert [skip.ids for skip in module.lost] == [(3,)]
    assert module.keys == {}


def test_a_second_test_of_a_module_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    from litetext.modules import video_eval

    module: Any = VideoEvalModule()
    data = SimpleNamespace(names=["own_test"], videos=[], evaluated={"own_test": []})
    module.trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cpu")))
    tracker = SimpleNamespace(about="", sam3=SimpleNamespace(check_width=None), to=lambda _: None)
    monkeypatch.setattr(VideoEvalModule, "data", data)
    monkeypatch.setattr(module, "begin", lambda *_: hashlib.blake2b())
    monkeypatch.setattr(module, "open_cache", lambda _: None)
    monkeypatch.setattr(module, "load_tracker", lambda: tracker)
    monkeypatch.setattr(video_eval, "digest", lambda *_: None)
    monkeypatch.setattr(video_eval, "encode_all", lambda *_: ({}, {}))
    module.keys[("own_test", 0)], module.reused = "00", 1
    module.lost.append(Skip("own_test", "7", (1,), "a frame"))
    module.setup("test")
    assert (module.keys, module.reused, module.lost) == ({}, 0, [])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"min_score": 1.0}, "model.min_score is 1.0"),
        ({"max_age": -1}, "model.max_age is -1"),
        ({"chunk": 0}, "model.chunk is 0"),
        ({"teacher": False}, "nothing to score"),
        ({"text_encoders": {"teacher": "x"}}, "choose another name"),
    ],
)
def test_bad_options_are_named(options: dict, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        VideoEvalModule(**options)


def test_images_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]) -> None:
    monkeypatch.chdir(tmp_path)
    told = refused("test", "--config", "shapes.yaml", "--model", "litetext.modules.video_eval.VideoEvalModule")
    assert "VideoEvalModule reads a VideoDataModule; data.class_path names SegDataModule" in told
