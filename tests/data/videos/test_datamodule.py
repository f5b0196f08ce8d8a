"""SA-Co VEval as released: what is there, what is missing, and never a shifted frame."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from litetext.data.shapes.veval import MEDIA, NAME, write_video_shapes
from litetext.data.videos.datamodule import VideoDataModule, find_splits
from litetext.data.videos.frames import find_frames, read_video
from litetext.saco.videos import read_video_annotations

FRAMES = 6


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video_shapes(tmp_path_factory.mktemp("veval") / "v", 3, frames=FRAMES).folder


@pytest.fixture
def root(drawn: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(drawn, tmp_path / "v"))


def change(root: Path, **fields: Any) -> None:
    path = root / "annotation" / NAME
    content = json.loads(path.read_text())
    for field, edit in fields.items():
        edit(content[field])
    path.write_text(json.dumps(content))


def serve(root: Path, **options: Any) -> VideoDataModule:
    data = VideoDataModule(str(root), **options)
    data.setup("test")
    return data


def test_it_serves_every_video_with_its_phrases_and_frames(drawn: Path) -> None:
    data = serve(drawn)
    assert data.names == ["shapes_test"]
    assert not data.partial
    annotations = read_video_annotations(drawn / "annotation" / NAME)
    served = list(data.test_dataloader())
    assert [item.frames.video.id for item in served] == list(annotations.videos)
    asked = {(item.frames.video.id, c) for item in served for c in item.categories}
    assert asked == set(annotations.pairs)
    for item in served:
        assert item.phrases == [annotations.categories[c] for c in item.categories]
        assert [frame.shape for frame in item.frames] == [(3, 112, 112)] * FRAMES
    assert data.evaluated["shapes_test"] == annotations.evaluated


def test_a_process_without_videos_has_an_empty_batch(drawn: Path) -> None:
    data: Any = serve(drawn, limit=1)
    found = []
    for rank in range(2):
        data.trainer = SimpleNamespace(global_rank=rank, world_size=2)
        found += list(data.test_dataloader())
    assert [item if item is None else item.number for item in found] == [0, None]


def test_a_missing_frame_stops_before_any_model_and_says_which(root: Path) -> None:
    (root / MEDIA / "shapes_00001" / "00002.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 3 videos lack frames \(1 of 6 frames are missing.*00002.jpg"):
        serve(root)
    data = serve(root, skip_missing_videos=True)
    assert data.partial
    assert [item.number for item in data.videos] == [0, 2]
    assert data.skips[0].file_name == "1"


def test_a_frame_that_does_not_decode_or_has_another_size_is_no_shift(root: Path) -> None:
    path = root / MEDIA / "shapes_00000" / "00003.jpg"
    path.write_bytes(path.read_bytes()[:50])
    frames = iter(serve(root).videos[0].frames)
    assert [next(frames).shape for _ in range(3)] == [(3, 112, 112)] * 3
    with pytest.raises(ValueError, match=r"shapes_00000/00003.jpg: the image does not decode"):
        next(frames)
    change(root, videos=lambda videos: videos[1].update(width=100))
    with pytest.raises(ValueError, match="112 x 112 pixels"):
        list(serve(root).videos[1].frames)


def test_a_masklet_with_another_number_of_frames_is_refused(root: Path) -> None:
    change(root, annotations=lambda marks: marks[0]["areas"].pop())
    with pytest.raises(ValueError, match="has 5 areas for 6 frames"):
        serve(root)


def test_a_video_with_another_length_than_its_names_is_refused(root: Path) -> None:
    change(root, videos=lambda videos: videos[0]["file_names"].pop())
    with pytest.raises(ValueError, match="length 6 but 5 file_names"):
        serve(root)


def test_a_name_that_leaves_the_folder_is_refused(root: Path) -> None:
    change(root, videos=lambda videos: videos[0]["file_names"].__setitem__(0, "../../secret.jpg"))
    with pytest.raises(ValueError, match="leaves the image folder"):
        serve(root)


def test_a_pair_of_an_unknown_video_is_left_out_and_many_are_refused(root: Path) -> None:
    whole = serve(root)
    change(root, video_np_pairs=lambda pairs: pairs[0].update(video_id=99))
    annotations = read_video_annotations(root / "annotation" / NAME)
    assert annotations.notes == [f"{NAME}: 1 of 18 video_np_pairs are left out: video_np_pairs[0] names video 99, "
                                 "which is not there"]  # fmt: skip
    assert sum(len(item.categories) for item in serve(root).videos) in (17, 18)  # 18 where its masklet names the pair
    assert sum(len(item.categories) for item in whole.videos) == 18
    change(root, video_np_pairs=lambda pairs: [pair.update(video_id=99) for pair in pairs[:5]])
    with pytest.raises(ValueError, match="5 of 18 video_np_pairs have no home"):
        serve(root)


def test_limits_are_partial(drawn: Path) -> None:
    data = serve(drawn, limit=2)
    assert data.partial
    assert len(data.videos) == 2


def test_splits_are_found_by_name_and_kind(drawn: Path, tmp_path: Path) -> None:
    for name in ("saco_veval_yt1b_val.json", "saco_veval_sav_val.json", "saco_veval_sav_test.json"):
        shutil.copy(drawn / "annotation" / NAME, tmp_path / name)
    assert list(find_splits(tmp_path, "val")) == ["sav_val", "yt1b_val"]
    assert list(find_splits(tmp_path, ["yt1b_val"])) == ["yt1b_val"]
    with pytest.raises(FileNotFoundError, match=r"lacks saco_veval_smartglasses_test.json; splits found: sav_test"):
        find_splits(tmp_path, ["smartglasses_test"])
    with pytest.raises(FileNotFoundError, match="no such folder"):
        find_splits(tmp_path / "x", "all")


def test_media_folders_may_be_named(root: Path, tmp_path: Path) -> None:
    (root / MEDIA).rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"--data\.media\.shapes FOLDER"):
        serve(root)
    assert len(serve(root, media={"shapes": str(tmp_path / "elsewhere")}).videos) == 3


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match=r"data\.limit is 0"):
        VideoDataModule("x", limit=0)
    with pytest.raises(ValueError, match="shapes:24"):
        VideoDataModule("shapes:many")


def test_a_video_file_gives_the_annotated_frames(root: Path) -> None:
    av = pytest.importorskip("av")
    folder = root / MEDIA / "shapes_00000"
    item = serve(root).videos[0]
    images = list(item.frames)
    with av.open(str(folder.with_suffix(".mp4")), "w") as out:
        stream = out.add_stream("mpeg4", rate=6)
        stream.width = stream.height = 112
        stream.bit_rate = 8_000_000
        for image in images:
            frame = av.VideoFrame.from_ndarray(image.permute(1, 2, 0).numpy(), format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    shutil.rmtree(folder)
    frames = find_frames(item.frames.video, root / MEDIA)
    decoded = list(frames)
    assert len(decoded) == FRAMES
    for one, two in zip(decoded, images, strict=True):
        error = (one.float() - two.float()).abs().mean()
        assert error < 12
    nearest = [
        int(torch.stack([(one.float() - two.float()).abs().mean() for two in images]).argmin()) for one in decoded
    ]
    assert nearest == list(range(FRAMES))
    short = item.frames.video.__class__("x", tuple(f"shapes_00000/{t:05}.jpg" for t in range(0, 12, 2)), 112, 112)
    with pytest.raises(ValueError, match=r"ends after 3 of 6 annotated frames \(the next is 6\)"):
        list(find_frames(short, root / MEDIA))
    (root / MEDIA / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(ValueError, match="cannot be read as a video"):
        list(read_video(root / MEDIA / "broken.mp4"))


def test_files_from_which_videos_were_taken_are_splits_of_their_own(root: Path) -> None:
    folder = root / "annotation"
    whole = folder / NAME
    content = json.loads(whole.read_text())
    gone = content["videos"].pop()["id"]
    for key in ("annotations", "video_np_pairs"):
        content[key] = [item for item in content[key] if item["video_id"] != gone]
    (folder / "saco_veval_shapes_test_updated.json").write_text(json.dumps(content))
    assert list(find_splits(root, "test")) == list(find_splits(root, "all")) == ["shapes_test"]
    assert len(serve(root, splits=["shapes_test_updated"]).videos) == 2
    whole.unlink()
    data = serve(root)
    assert data.names == ["shapes_test_updated"]
    assert len(data.videos) == 2, "frames lie where those of the whole file lie"
    with pytest.raises(FileNotFoundError, match=r"lacks saco_veval_shapes_test.json; .* shapes_test_updated"):
        find_splits(root, ["shapes_test"])


def test_a_pair_with_a_damaged_mask_is_left_out_and_counted(root: Path) -> None:
    before = sum(len(item.categories) for item in serve(root).videos)

    def damage(marks: list[dict[str, Any]]) -> None:
        code = next(code for code in marks[0]["segmentations"] if code)
        code["counts"] = code["counts"][:-1]

    change(root, annotations=damage)
    data = serve(root)
    assert sum(len(item.categories) for item in data.videos) == before - 1
    assert data.partial
    (skip,) = data.skips
    assert "annotation 0: frame" in skip.reason
    assert len(skip.ids) == 1


def test_a_folder_named_for_no_domain_is_refused(root: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.media\.sg is no domain; give one of: shapes"):
        serve(root, media={"sg": str(root)})
