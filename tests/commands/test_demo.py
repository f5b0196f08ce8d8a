"""`litetext demo`: the page, what it answers, and that it stays on this machine."""

import importlib
import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from litetext.commands.comparison import Answer, Side
from litetext.commands.demo import _QUIET, HOST, _shipped_student, build, caption, examples, serve, table
from litetext.shipped import STUDENTS, shipped


@pytest.fixture(autouse=True)
def same_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _QUIET:
        monkeypatch.setenv(name, os.environ.get(name, "True"))


def side(scores: list[list[float]], parameters: int = 1000) -> Side:
    return Side(np.zeros((8, 8, 3), dtype=np.uint8), scores, 0.0123, parameters)


def answer(image: str | os.PathLike[str], phrases: Sequence[str], threshold: float) -> Answer:
    """What a Comparison would say, of what it was asked."""
    if phrases == ["<none>"]:
        raise ValueError(f"{image}: no <phrases>")
    width = Image.open(image).width
    one, other = [[threshold, 0.25]], [[float(width)]]
    return Answer([*phrases], side(one * len(phrases), 2_000_000), side(other * len(phrases)), [0.5] * len(phrases))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("world", ["shapes", "nouns"])
def test_examples_are_scenes_with_phrases(tmp_path: Path, world: str) -> None:
    rows = examples(tmp_path, world)
    assert len(rows) == 4
    for file, text in rows:
        assert Image.open(file).size == (112, 112)
        assert len(text.splitlines()) == len(set(text.splitlines())) >= 2


def test_what_the_page_says() -> None:
    found = Answer(["<b>cup</b>", "dog"], side([[0.914, 0.5], []]), side([[0.9], []]), [0.1234, None])
    told = table(found)
    assert "<td>&lt;b&gt;cup&lt;/b&gt;</td><td>0.91 0.50</td><td>0.90</td><td>0.123</td>" in told
    assert "<td>dog</td><td>nothing</td><td>nothing</td><td></td>" in told
    assert caption("Student", found.student, 1).endswith("1,000 parameters on the text side · 1 phrase read in 12.3 ms")
    cut = found.student._replace(remark="1 of 2 cut at 16 tokens")
    assert caption("Student", cut, 2).endswith("2 phrases read in 12.3 ms · 1 of 2 cut at 16 tokens")


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Any]:
    pytest.importorskip("gradio")
    page = build(answer, examples(tmp_path))
    yield page
    page.close()


def test_the_button_asks_and_shows(page: Any, tmp_path: Path) -> None:
    assert page.analytics_enabled is False
    (event,) = [fn for fn in page.fns.values() if fn.api_name == "compare"]
    assert [block.get_block_name() for block in event.inputs] == ["image", "textbox", "slider"]
    assert [block.get_block_name() for block in event.outputs] == ["markdown", "image"] * 2 + ["html"]
    places = [getattr(block, "height", None) or block.min_height for block in event.outputs]
    assert places[:2] == places[2:4], "both sides keep the same place"
    assert all(places), "before the first result too, so that nothing jumps"
    first, _, second, picture, told = event.fn(str(tmp_path / "shapes-0.png"), "cup\ndog", 0.75)
    assert first.startswith("### Teacher\n2,000,000 parameters")
    assert second.startswith("### Student\n1,000 parameters")
    assert picture.shape == (8, 8, 3)
    assert "<td>dog</td><td>0.75 0.25</td><td>112.00</td><td>0.500</td>" in told
    error = importlib.import_module("gradio").Error
    with pytest.raises(error, match="there is no image"):
        event.fn(None, "cup", 0.5)
    with pytest.raises(error, match=r"^.shapes-0\.png: no &lt;phrases&gt;.$"):
        event.fn(str(tmp_path / "shapes-0.png"), "<none>", 0.5)


def test_the_page_is_served_to_this_machine_alone(page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SERVER_NAME": "0.0.0.0", "SHARE": "True", "ANALYTICS_ENABLED": "True"}.items():
        monkeypatch.setenv(f"GRADIO_{name}", value)
    port = free_port()
    assert serve(page, port) == f"http://{HOST}:{port}/"
    assert page.server_name == HOST
    assert page.share_url is None
    open_url = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
    with open_url(f"http://{HOST}:{port}/", timeout=20) as reply:
        text = reply.read().decode()
        assert "default-src 'self'" in reply.headers["content-security-policy"]
    assert "fonts.googleapis.com" not in text
    with open_url(f"http://{HOST}:{port}/config", timeout=20) as reply:
        config = json.load(reply)
    assert config["analytics_enabled"] is False
    with pytest.raises(ValueError, match=f"--port {port} cannot be served"):
        serve(build(answer, [[None, "cup"]]), port)


def test_a_port_that_is_taken_or_none(refused: Callable[..., str]) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"--port {port} cannot be had (" in refused("demo", "--port", str(port))
    assert "--port is 0; choose one from 1 to 65535" in refused("demo", "--port", "0")
    assert "port" in refused("demo", "--port", "http")
    assert "--share" in refused("demo", "--share", "true")


def test_without_gradio(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    line = refused("demo", "--port", str(free_port()))
    assert line.endswith("litetext demo needs gradio, which is not installed: pip install 'litetext[demo]'")


def test_no_such_student(refused: Callable[..., str], folder: Path) -> None:
    pytest.importorskip("gradio")
    assert "nowhere.ckpt" in refused("demo", "--port", str(free_port()), "--text_encoder", "nowhere.ckpt")


def test_a_student_ships_for_the_shipped_sam3s_alone(refused: Callable[..., str]) -> None:
    assert _shipped_student("nouns") == _shipped_student(shipped("checkpoints/sam3-nouns")) == STUDENTS["nouns"]
    assert _shipped_student("shapes") == STUDENTS["shapes"]
    line = refused("demo", "--port", str(free_port()), "--sam3", "facebook/sam3")
    assert "no student ships for --sam3 facebook/sam3; name one: --text_encoder" in line


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from litetext.cli import main; code = main(['demo', '--help']);"
        "print('heavy:', *({'torch', 'gradio', 'numpy', 'PIL', 'transformers'} & set(sys.modules))); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    for option in ("--model", "--text_encoder", "--port"):
        assert option in done.stdout
    assert "--share" not in done.stdout
    assert done.stdout.splitlines()[-1].strip() == "heavy:"
