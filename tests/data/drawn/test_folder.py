import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from litetext.data.drawn.folder import own_folder
from litetext.data.images.datamodule import SegDataModule
from litetext.data.videos.datamodule import VideoDataModule


def _images(root: str) -> SegDataModule:
    return SegDataModule(root, subsets="all")


@pytest.mark.parametrize(("module", "beside"), [(_images, "shapes"), (VideoDataModule, "shapes_video")])
def test_a_benchmark_of_another_version_stays_and_this_version_draws_its_own(
    module: Callable[[str], Any], beside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    module("shapes:1").prepare_data()
    kept = Path("checkpoints", beside, "1", "shapes.json")
    other = json.dumps({**json.loads(kept.read_text()), "code": "0" * 16})
    kept.write_text(other)
    data = module("shapes:1")
    data.prepare_data()
    data.setup("test")
    assert data.names
    drawn = Path(data.root, "shapes.json")
    assert drawn.parent.name.startswith("1-")
    assert json.loads(drawn.read_text())["code"] != "0" * 16
    assert kept.read_text() == other
    before = drawn.stat().st_mtime_ns
    again = module("shapes:1")
    again.prepare_data()
    assert again.root == data.root
    assert drawn.stat().st_mtime_ns == before


@pytest.mark.parametrize("manifest", ["", "[]", "{}", '"code"'])
def test_a_folder_that_is_no_benchmark_keeps_its_name(manifest: str, tmp_path: Path) -> None:
    (tmp_path / "nouns.json").write_text(manifest)
    assert own_folder(str(tmp_path), "nouns") == str(tmp_path)  # write_once refuses it by this name
