"""SegDataModule: what a run is told before a model is loaded, and what it is served."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jsonargparse import ArgumentParser
from lightning.pytorch import LightningModule, Trainer
from PIL import Image

from litetext.data.images.coco import CocoSet
from litetext.data.images.datamodule import RankSampler, SegDataModule
from litetext.metrics.cgf1 import PhraseCounts
from litetext.saco.images import evaluated, read_annotator
from litetext.saco.instances import Instances, Truth
from tests.fixtures.runs import Answer
from tests.fixtures.saco_world import H, W, paint, small_gold


def served(data: SegDataModule) -> list[Any]:
    data.setup("test")
    return [item for batch in data.test_dataloader() for item in batch.items]


def module(root: Path, **options: Any) -> SegDataModule:
    return SegDataModule(str(root), **{"subsets": ["crowded"], **options})


def test_one_item_is_one_image_with_all_its_pairs(tmp_path: Path) -> None:
    small_gold(tmp_path)
    small_gold(tmp_path, "sa1b", 2)
    items = served(module(tmp_path, subsets="all", batch_size=3))
    assert [(i.subset, i.file_name[-8:]) for i in items] == [
        *(("sa1b", f"img{k}.png") for k in range(2)),
        *(("crowded", f"img{k}.png") for k in range(5)),
    ]
    third = items[4]
    assert third.image.shape == (3, H, W)
    assert third.image.dtype == torch.uint8
    assert third.image[:, 0, 0].tolist() == [12, 0, 0]
    assert [p.phrase for p in third.pairs] == ["thing 2", "thing 7", "thing 12"]
    assert [len(t.masks or []) for t in third.pairs[0].truths] == [1, 1, 1]


def test_missing_images_are_named_before_anything_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    small_gold(tmp_path)
    for k in (1, 3):
        (tmp_path / f"metaclip/1/1/img{k}.png").unlink()
    told = (
        r"crowded: 2 of 5 images \(6 of 15 pairs\) are not in .*metaclip: 1/1/img1\.png, 1/1/img3\.png; name the folder"
    )
    with pytest.raises(FileNotFoundError, match=told):
        module(tmp_path).setup("test")
    listed = tmp_path / "missing.txt"
    data = module(tmp_path, skip_missing_images=True, missing_list=str(listed))
    with caplog.at_level(logging.INFO):
        items = served(data)
    assert "2 images missing" in caplog.text
    assert "partial: 6 pairs left out" in caplog.text
    assert data.partial
    assert [i.file_name[-8:] for i in items] == ["img0.png", "img2.png", "img4.png"]
    assert sorted(i for skip in data.skips for i in skip.ids) == [10_000_000 + k for k in (1, 3, 6, 8, 11, 13)]
    assert [line[-8:] for line in listed.read_text().splitlines()] == ["img1.png", "img3.png"]


def test_a_whole_run_is_not_partial(tmp_path: Path) -> None:
    small_gold(tmp_path)
    data = module(tmp_path)
    assert len(served(data)) == 5
    assert (data.partial, data.skips, data.pairs, data.names) == (False, [], 15, ["crowded"])
    cut = module(tmp_path, limit=2)
    assert len(served(cut)) == 2
    assert cut.partial


def damage(path: Path, change: Any) -> None:
    content = json.loads(path.read_text())
    change(content["annotations"][0])
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("workers", [0, 1])
def test_what_decoding_finds_is_left_out_and_the_run_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, workers: int
) -> None:
    paths = small_gold(tmp_path)
    damage(paths[0], lambda a: a["segmentation"].update(size=[H, W + 1]))  # pair 1 of image 1
    (tmp_path / "metaclip/1/0/img2.png").write_bytes(b"no image")
    whole = (tmp_path / "metaclip/1/1/img3.png").read_bytes()
    (tmp_path / "metaclip/1/1/img3.png").write_bytes(whole[: len(whole) // 2])
    paint(tmp_path / "metaclip/1/0/img4.png", size=(W, H + 2))
    data = module(tmp_path, num_workers=workers, batch_size=2)
    items = served(data)
    assert [(i.file_name[-8:], len(i.pairs)) for i in items] == [("img0.png", 3), ("img1.png", 2)]
    assert data.partial
    reasons = {skip.file_name[-8:]: skip for skip in data.skips}
    assert reasons["img1.png"].ids == (10_000_001,)
    assert "mask's size (height, width) is [12, 17], the image's is [12, 16]" in reasons["img1.png"].reason
    assert "does not decode" in reasons["img2.png"].reason
    assert "does not decode" in reasons["img3.png"].reason
    assert "14 x 16 pixels (height x width), the annotations say 12 x 16" in reasons["img4.png"].reason
    assert sum(len(i.pairs) for i in items) + sum(len(skip.ids) for skip in data.skips) == 15
    before = list(data.skips)
    list(data.test_dataloader())
    assert data.skips == before, "a second pass tells nothing twice"
    assert caplog.text.count("left out: crowded: 1/0/img2.png (id 10000002, 10000007, 10000012)") == 1


def test_a_run_keeps_what_is_whole_and_counts_what_is_not(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    litetext: Callable[..., Answer],
    refused: Callable[..., str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert litetext("shapes", "world", "--images", "2").code == 0
    paths = {x: Path(f"world/gold_common_merged_{x}_release_test.json") for x in "abc"}
    whole = paths["b"].read_text()
    size = json.loads(whole)["images"][0]["height"]
    damage(paths["b"], lambda a: a["segmentation"].update(size=[size, size + 1]))
    damaged = json.loads(whole)["annotations"][0]["image_id"]
    crowded = Path("world/gold_crowded_merged_a_release_test.json")
    content = json.loads(crowded.read_text())
    leaving = content["images"][0]["file_name"]
    gone = [image["id"] for image in content["images"] if image["file_name"] == leaving]
    for image in content["images"]:
        if image["file_name"] == leaving:
            image["file_name"] = "../../etc/passwd"
    crowded.write_text(json.dumps(content))
    picture = next(Path("world/images/attributes").rglob("*.png"))
    picture.write_bytes(picture.read_bytes()[:100])
    asked = [read_annotator(f"world/gold_attributes_merged_{x}_release_test.json") for x in "abc"]
    lost = [i for i in evaluated(asked) if asked[0].images[i]["file_name"] == picture.name]
    argv = ("test", "--config", "shapes.yaml", "--data.root", "world", "--model.pictures", "0")
    answer = litetext(*argv, "--trainer.enable_progress_bar", "false")
    assert answer.code == 0, answer.err
    results = json.loads(Path("lightning_logs/shapes/results.json").read_text())
    assert results["partial"] is True
    assert results["left_out"] == 1 + len(gone) + len(lost)
    assert f"partial: {results['left_out']:,} pairs were left out" in answer.out
    assert set(results["encoders"]["teacher"]["subsets"]) == {"attributes", "crowded", "common", "word_order"}
    told = caplog.text
    for reason in ("leaves the image folder", "a mask's size (height, width) is", "does not decode"):
        assert reason in told
    asked = {
        p["image_id"] for p in json.loads(Path("lightning_logs/shapes/predictions/teacher/common.json").read_text())
    }
    assert asked
    assert damaged not in asked

    paths["c"].write_text(whole[:-60])
    assert "gold_common_merged_c_release_test.json cannot be read as JSON" in refused(*argv)
    assert json.loads(Path("lightning_logs/shapes/results.json").read_text()) == results, "nothing is lost"


def test_links_that_the_user_set_are_followed(tmp_path: Path) -> None:
    small_gold(tmp_path)
    (tmp_path / "metaclip").rename(tmp_path / "elsewhere")
    (tmp_path / "metaclip").symlink_to(tmp_path / "elsewhere")
    assert len(served(module(tmp_path))) == 5


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda a: a["segmentation"].update(counts=a["segmentation"]["counts"][:-1]), "runs"),
        (lambda a: a.update(segmentation="nonsense"), "segmentation 1 of 1 cannot be read: segmentation must be"),
        (lambda a: a.update(segmentation=[], bbox=[1, 2]), "annotation 2: it has no segmentation, and bbox is [1, 2]"),
    ],
)
def test_one_damaged_mark_costs_one_pair(tmp_path: Path, change: Any, told: str) -> None:
    damage(small_gold(tmp_path)[2], change)
    data = module(tmp_path)
    assert sum(len(i.pairs) for i in served(data)) == 14
    assert told in data.skips[0].reason


def test_orientation_tags_are_ignored_as_in_the_official_evaluator(tmp_path: Path) -> None:
    small_gold(tmp_path)
    path = tmp_path / "metaclip/1/0/img0.png"
    image = Image.new("L", (W, H))
    image.putpixel((W - 1, 0), 255)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(path, exif=exif)
    first = served(module(tmp_path))[0].image
    assert first.shape == (3, H, W)
    assert first[:, 0, W - 1].tolist() == [255, 255, 255], "grey becomes RGB, nothing is turned"


@given(length=st.integers(0, 60), world=st.integers(1, 9))
def test_ranks_partition_the_images(length: int, world: int) -> None:
    parts = [list(RankSampler(length, rank, world)) for rank in range(world)]
    assert sorted(i for part in parts for i in part) == list(range(length))
    assert [len(RankSampler(length, rank, world)) for rank in range(world)] == [len(part) for part in parts]


@given(costs=st.lists(st.integers(1, 40), max_size=40), world=st.integers(1, 9))
def test_ranks_have_about_as_much_to_do(costs: list[int], world: int) -> None:
    parts = [list(RankSampler(costs, rank, world)) for rank in range(world)]
    assert sorted(i for part in parts for i in part) == list(range(len(costs)))
    loads = [sum(costs[i] for i in part) for part in parts]
    assert max(loads) - min(loads) <= max(costs, default=0)


def test_a_process_without_images_has_an_empty_batch(tmp_path: Path) -> None:
    small_gold(tmp_path, count=1)
    data: Any = module(tmp_path)
    data.setup("test")
    found = []
    for rank in range(3):
        data.trainer = SimpleNamespace(global_rank=rank, world_size=3)
        (batch,) = data.test_dataloader()
        assert isinstance(data.test_dataloader().sampler, RankSampler), "Lightning leaves it as it is"
        found.append(len(batch.items))
    assert found == [1, 0, 0]
    assert data.skips == []


def test_coco_data_is_one_subset(tmp_path: Path) -> None:
    paint(tmp_path / "a.png")
    square = [[1, 1, 5, 1, 5, 4, 1, 4]]
    mark = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 3], "segmentation": square, "iscrowd": 0}
    (tmp_path / "own.json").write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "a.png", "height": H, "width": W}],
                "annotations": [mark],
                "categories": [{"id": 1, "name": "cup"}],
            }
        )
    )
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(SegDataModule, "data")
    parsed = parser.parse_args([f"--data.coco.annotations={tmp_path / 'own.json'}", "--data.coco.name=own"])
    data = parser.instantiate_classes(parsed).data
    (item,) = served(data)
    assert (item.subset, data.names, item.pairs[0].phrase) == ("own", ["own"], "cup")
    assert item.pairs[0].truths[0].masks[0]["size"] == [H, W], "polygons come as run-length masks"
    small_gold(tmp_path)
    both = module(tmp_path, coco=CocoSet(str(tmp_path / "own.json")))
    assert {i.subset for i in served(both)} == {"crowded", "coco"}
    with pytest.raises(ValueError, match="name of a SA-Co subset"):
        module(tmp_path, coco=CocoSet(str(tmp_path / "own.json"), name="crowded")).setup("test")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"root": None}, r"data\.root is missing"),
        ({"batch_size": 0}, r"data\.batch_size is 0"),
        ({"num_workers": -1}, r"data\.num_workers is -1"),
        ({"limit": 0}, r"data\.limit is 0"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        SegDataModule(**{"root": "x", **options})


def test_nothing_left_is_an_error_with_the_first_reason(tmp_path: Path) -> None:
    small_gold(tmp_path)
    with pytest.raises(ValueError, match=r"no pair is left to be asked in crowded; the first reason: .*no such image"):
        module(tmp_path, images={"metaclip": str(tmp_path / "else")}, skip_missing_images=True).setup("test")


class Counting(LightningModule):
    """Predicts what annotator a marked."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = PhraseCounts()
        self.result: dict[str, float] = {}
        self.skipped = 0

    def test_step(self, batch: Any, batch_idx: int) -> None:
        for item in batch.items:
            for pair in item.pairs:
                truths = [Truth(t.masks, t.boxes, t.crowd) for t in pair.truths]
                found = Instances([0.9] * len(truths[0].boxes), masks=truths[0].masks)
                self.counts.update([pair.id], [found], [truths])

    def on_test_epoch_end(self) -> None:
        self.result = self.counts.compute()
        self.skipped = len(self.trainer.datamodule.all_skips())  # pyright: ignore[reportAttributeAccessIssue]
        if self.trainer.global_rank == 0:
            file = Path(self.trainer.default_root_dir) / f"world{self.trainer.world_size}.json"
            file.write_text(json.dumps([self.result, self.skipped]))


def run(root: Path, devices: int) -> Any:
    trainer = Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp_spawn" if devices > 1 else "auto",
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        default_root_dir=root,
    )
    trainer.test(Counting(), datamodule=module(root, batch_size=2), verbose=False)
    return json.loads((root / f"world{devices}.json").read_text())


@pytest.mark.usefixtures("copied")
def test_two_processes_count_what_one_counts(tmp_path: Path) -> None:
    small_gold(tmp_path)  # five images: a filled up sampler would repeat one
    (tmp_path / "metaclip/1/1/img3.png").write_bytes(b"no image")
    numbers, skipped = run(tmp_path, 1)
    assert numbers["cgF1_eval_segm_cgF1"] > 0.99
    assert skipped == 1
    assert run(tmp_path, 2) == [numbers, skipped]
