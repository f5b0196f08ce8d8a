"""`litetext score` on VEval files: recognised, scored, refused."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

from tests.fixtures.runs import Answer

ORACLE = Path(__file__).parent.parent / "fixtures" / "oracle"


VIDEOS = ORACLE / "video_synth"


def test_veval_files_are_recognised_and_scored(tmp_path: Path, litetext: Callable[..., Answer]) -> None:
    answer = litetext(
        *("score", "--gt", str(VIDEOS / "gt.json.gz"), "--predictions", str(VIDEOS / "pred.json.gz")),
        *("--output", str(tmp_path / "out.json"), "--official", str(VIDEOS / "official.json")),
    )
    assert answer.code == 0, answer.err
    told = [line for line in answer.out.splitlines() if "largest difference" in line]
    assert [line.split(":")[0] for line in told] == ["mask", "bbox"]
    assert all(float(line.split("evaluator ")[1].split()[0]) < 1e-7 for line in told)
    stored = json.loads((tmp_path / "out.json").read_text())
    official = json.loads((VIDEOS / "official.json").read_text())
    assert stored["dataset_results"]["video_mask_teta"] == official["dataset_results"]["video_mask_teta"]
    assert len(stored["video_np_results"]) == len(official["video_np_results"])
    assert "51.9320" in answer.out


def test_bad_veval_files_end_in_one_line(tmp_path: Path, refused: Callable[..., str]) -> None:
    gt, found = str(VIDEOS / "gt.json.gz"), str(VIDEOS / "pred.json.gz")
    assert "--gt names 2 files; videos have one annotator" in refused("score", "--gt", gt, gt, "--predictions", found)
    (tmp_path / "pred.json").write_text("[{}]")
    told = refused("score", "--gt", gt, "--predictions", str(tmp_path / "pred.json"))
    assert "track 0 has no video_id" in told
    (tmp_path / "other.json").write_text("{}")
    told = refused("score", "--gt", gt, "--predictions", found, "--official", str(tmp_path / "other.json"))
    assert "holds none of the official numbers" in told


def test_tracks_of_which_a_quarter_have_no_home(
    tmp_path: Path, litetext: Callable[..., Answer], refused: Callable[..., str]
) -> None:
    truth, tracks = str(VIDEOS / "gt.json.gz"), json.loads(gzip.decompress((VIDEOS / "pred.json.gz").read_bytes()))
    few, many = len(tracks) // 8, -(-len(tracks) // 4)

    def score(strange: dict[str, int], count: int, *options: str) -> tuple[str, ...]:
        found = [{**item, **strange} if n < count else item for n, item in enumerate(tracks)]
        (tmp_path / "found.json").write_text(json.dumps(found))
        return ("score", "--gt", truth, "--predictions", str(tmp_path / "found.json"), *options)

    for strange, told in (({"video_id": 987654}, "of videos that"), ({"category_id": 987654}, "of categories that")):
        assert litetext(*score(strange, few)).code == 0
        line = refused(*score(strange, many))
        assert f"{told} gt.json.gz does not" in line
        assert "--allow_unknown" in line
        assert litetext(*score(strange, many, "--allow_unknown")).code == 0
