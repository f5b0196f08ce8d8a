"""The help that ships, against what the parser prints, and the one that is kept in the user's cache."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from litetext.cli import LIGHTNING_COMMANDS
from litetext.commands import shipped_help as shipped
from litetext.commands import stored_help
from litetext.commands.stored_help import show_help
from tests.fixtures.imports import imported
from tests.fixtures.runs import Answer

AGAIN = "the shipped help is not what the parser prints: run `python .ci/write_help.py` and commit what it writes"
CACHED = {"JSONARGPARSE_OF_A_TEST": "1"}  # such variables change what jsonargparse prints: nothing shipped holds


def test_the_shipped_help_is_what_the_parser_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    content = json.loads(shipped.SHIPPED.read_text())
    assert content["sources"] == shipped.sources(), AGAIN
    if content["versions"] != shipped.versions():
        pytest.skip(f"the shipped help is that of {content['versions']}, installed are {shipped.versions()}")
    found = imported(
        "import contextlib, io, os\nfrom litetext.cli import LIGHTNING_COMMANDS\n"
        "from litetext.commands.startup import put_off_torchmetrics\nput_off_torchmetrics()\n"
        "from litetext.commands.lightning import run\n"
        "def text(command, width):\n"
        "    os.environ['COLUMNS'] = width\n"
        "    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):\n"
        "        run(command, ['--help'])\n"
        "    return out.getvalue()\n"
        "told = {command: text(command, '80') for command in LIGHTNING_COMMANDS}\n"
        "told['wide'] = text('fit', '133')\n"
        "told['modules'] = [name for name in sys.modules if name.split('.')[0] == 'litetext']\n"
    )
    monkeypatch.setenv("COLUMNS", "80")
    for command in LIGHTNING_COMMANDS:
        assert len(found[command]) > 20_000
        assert found[command] == shipped.shipped_help(command), AGAIN
    monkeypatch.setenv("COLUMNS", "133")
    assert found["wide"] == shipped.shipped_help("fit") != found["fit"]
    # What is walked through for the key is what is imported, and the command's own start.
    walked = shipped.imported_modules(Path(shipped.__file__).parents[1])
    assert set(found["modules"]) - set(walked) == {"litetext.cli", "litetext.commands.startup"}
    assert set(walked) <= set(found["modules"])


def test_the_shipped_help_comes_without_lightning_at_the_first_call(tmp_path: Path) -> None:
    content = json.loads(shipped.SHIPPED.read_text())
    if content["versions"] != shipped.versions():
        pytest.skip("other versions than those of the shipped help")
    found = imported(
        "from litetext.cli import main\ntold = {'code': main(['validate', '-h'])}\n", XDG_CACHE_HOME=str(tmp_path)
    )
    assert found == {"heavy": [], "code": 0}
    assert not list(tmp_path.iterdir())


def test_other_sources_and_versions_are_not_described_by_the_shipped_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def package(callbacks: str, fit: str, other: str) -> str:
        lightning = (
            "from litetext.modules import callbacks\nfrom litetext.modules.fit import A\nimport litetext.models.other\n"
        )
        code = {
            "commands/lightning": lightning,
            "modules/callbacks": callbacks,
            "modules/fit": fit,
            "models/other": other,
        }
        for place in ("__init__", "commands/__init__", "modules/__init__", "models/__init__", *code):
            file = (tmp_path / place).with_suffix(".py")
            file.parent.mkdir(exist_ok=True)
            file.write_text(code.get(place, ""))
        return shipped.sources()

    (tmp_path / "modules").mkdir()
    for stub in ("__init__.pyi", "modules/__init__.pyi"):
        (tmp_path / stub).write_text("")
    monkeypatch.setattr(shipped, "__file__", str(tmp_path / "commands" / "shipped_help.py"))
    body = "from lightning import Callback\nclass A(Callback):\n    def f(self, x: int = {}):\n        return {}\n"
    first = package(body.format(1, 2), body.format(1, 2), "import os\n")
    assert package(body.format(1, 2), body.format(3, 4), "import sys\nclass B(sys): ...\n") == first
    assert package(body.format(3, 2), body.format(1, 2), "import os\n") != first
    assert package(body.format(1, 2), body.format(1, 2) + "class B(A): ...\n", "import os\n") != first
    assert package(body.format(1, 2), body.format(1, 2), "if True:\n    import lightning\n") != first
    monkeypatch.setattr(shipped, "versions", lambda: json.loads(shipped.SHIPPED.read_text())["versions"])
    assert shipped.shipped_help("fit") is None  # other sources
    (tmp_path / "__init__.pyi").unlink()
    assert shipped.shipped_help("fit") is None  # sources that are not there


def test_help_is_kept_and_given_again_without_lightning(
    tmp_path: Path, litetext: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_help, "_folder", lambda: tmp_path / "litetext" / "help")
    for name, value in CACHED.items():
        monkeypatch.setenv(name, value)
    first = litetext("fit", "--help")
    assert first.code == 0
    assert "--trainer.max_epochs" in first.out
    found = imported(
        "import io, contextlib\nfrom litetext.cli import main\nout = io.StringIO()\n"
        "with contextlib.redirect_stdout(out): code = main(['fit', '-h'])\n"
        "told = {'code': code, 'text': out.getvalue()}\n",
        XDG_CACHE_HOME=str(tmp_path),
    )
    assert found == {"heavy": [], "code": 0, "text": first.out}


def test_help_is_built_anew_when_what_decides_it_has_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_help, "_folder", lambda: tmp_path / "help")
    monkeypatch.setattr(stored_help, "shipped_help", lambda command: None)
    built = []

    def build() -> int:
        built.append(1)
        print(f"usage: number {len(built)}")
        raise SystemExit(0)

    def ask(command: str = "fit") -> str:
        assert show_help(command, build) == 0
        return capsys.readouterr().out

    assert [ask(), ask()] == ["usage: number 1\n"] * 2
    assert ask("test") == "usage: number 2\n"
    monkeypatch.setenv("COLUMNS", "41")
    assert [ask(), ask()] == ["usage: number 3\n"] * 2
    monkeypatch.setattr(stored_help, "__file__", str(tmp_path / "litetext" / "commands" / "stored_help.py"))
    (tmp_path / "litetext").mkdir()
    assert ask() == "usage: number 4\n"
    (tmp_path / "litetext" / "new.py").write_text("x = 1\n")
    assert [ask(), ask()] == ["usage: number 5\n"] * 2
    (tmp_path / "help" / "fit.txt").write_bytes(b"\xff")
    assert ask() == "usage: number 6\n"
    monkeypatch.setattr(stored_help, "_folder", lambda: tmp_path / "litetext" / "new.py" / "help")  # no folder
    assert [ask(), ask()] == ["usage: number 7\n", "usage: number 8\n"]


def test_a_help_that_fails_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_help, "shipped_help", lambda command: None)
    monkeypatch.setattr(stored_help, "_folder", lambda: tmp_path / "help")

    def build() -> int:
        print("usage: half")
        raise SystemExit(2)

    assert show_help("fit", build) == 2
    assert not (tmp_path / "help").exists()
