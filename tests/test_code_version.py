"""Which code computed something."""

from pathlib import Path

import pytest

from litetext import code_version as room
from litetext.code_version import code_version


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(room, "_PACKAGE", tmp_path)
    (tmp_path / "a.py").write_text('"""About."""\n\n\ndef f(x):\n    """Doubles."""\n    return 2 * x  # twice\n')
    (tmp_path / "b.py").write_text("B = 1\n")
    return tmp_path


def version(*modules: str) -> str:
    code_version.cache_clear()
    return code_version(modules, ("numpy",))


def test_what_computes_counts_and_what_explains_does_not(package: Path) -> None:
    first, alone = version(), version("a.py")
    (package / "a.py").write_text('def f(x):\n\n    """Says more."""\n    return (2 * x)\n')
    assert (version(), version("a.py")) == (first, alone)
    (package / "b.py").write_text("B = 2\n")
    assert version() != first
    assert version("a.py") == alone
    (package / "a.py").write_text("def f(x):\n    return 3 * x\n")
    assert version("a.py") != alone


def test_versions_of_libraries_count(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = version()
    monkeypatch.setattr(room.metadata, "version", lambda name: "0.0.1")
    assert version() != first


def teardown_module() -> None:
    code_version.cache_clear()
