"""The Python that README and the guide on segmenting show: it runs as it stands, after the command before it."""

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from litetext.shipped import shipped
from tests.fixtures.runs import Answer

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("page", ["README.md", ".docs/pages/guides/segment.md"])
def test_the_segmenter_finds_what_the_page_asks_for(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, litetext: Callable[..., Answer]
) -> None:
    if not (ROOT / page).is_file():
        pytest.skip("the pages are not here")
    before, code = (ROOT / page).read_text(encoding="utf-8").split("```python\n")[:2]
    (command,) = re.findall(r"^litetext (nouns scenes .*)$", before, re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    # A student of the kind that the quickstart trains.
    Path("checkpoints/quickstart").mkdir(parents=True)
    shutil.copy(shipped("checkpoints/student-nouns/student.ckpt"), "checkpoints/quickstart/best.ckpt")
    assert litetext(*shlex.split(command)).code == 0
    names: dict = {}
    exec(code.partition("```")[0], names)
    results = names.get("results") or [names["result"]]
    for result in results:
        assert len(result.masks) == len(result.scores) == len(result.boxes)
    assert max(len(result.scores) for result in results) > 0, "one of both is in each scene"
