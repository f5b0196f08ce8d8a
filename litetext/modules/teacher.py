"""The teacher of a distillation: read only when something must be encoded, known by a fingerprint that is kept."""

import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import blake2b
from json import loads
from pathlib import Path
from typing import Any

import torch

from litetext.checkpoints.hub_tokenizer import HubTokenizer
from litetext.files import write_json
from litetext.models.finite import check_weights
from litetext.models.hub import find_model
from litetext.models.packaged import packaged
from litetext.models.text.encoder import TextEncoder
from litetext.models.text.loading import load_text_encoder, load_tokenizer
from litetext.models.text.student import Student
from litetext.models.text.teacher import Sam3TextEncoder
from litetext.shipped import code_version, shipped

CACHE = "teachers"
"""Folder below the stores of features in which fingerprints are kept."""


@dataclass(frozen=True)
class TeacherFacts:
    """What a run must know of its teacher where nothing is left to encode.

    Attributes:
        fingerprint: Hash of its weights and configuration.
        parameters: How many it has.
        width: Size of a feature.
        context_length: Most tokens of a prompt.
        computed: How `encode_tokens` computes features: the padding that a prompt sees.
        modules: Modules of litetext that encode, as `code_version` takes them.
        libraries: Libraries that encode.
        vocab_size: Tokens of its own tokenizer; None where it reads SAM3's.
    """

    fingerprint: str
    parameters: int
    width: int
    context_length: int
    computed: str
    modules: list[str]
    libraries: list[str]
    vocab_size: int | None = None

    @classmethod
    def of(cls, teacher: TextEncoder) -> "TeacherFacts":
        """The facts of a teacher that has been read."""
        names = {kind.__module__ for module in teacher.modules() for kind in type(module).__mro__}
        root = Path(__file__).parent.parent
        files = [Path(str(sys.modules[name].__file__)) for name in sorted(names) if name.startswith("litetext.")]
        libraries = sorted({"torch"} | {name.partition(".")[0] for name in names} & {"transformers"})
        return cls(
            teacher.fingerprint,
            teacher.parameter_count,
            teacher.width,
            teacher.context_length,
            teacher.computed,
            [file.relative_to(root).as_posix() for file in files],
            libraries,
            None if teacher.reads is None else teacher.reads.vocab_size,
        )

    @property
    def code(self) -> str:
        """Version of the code that encodes."""
        return code_version(tuple(self.modules), tuple(self.libraries))


class Teacher:
    """A teacher by its name, read when it is first needed.

    Args:
        name: What `model.teacher` names.
        cache: Folder in which its facts are kept, with the size and time of each of its files, so that a run that finds
            all features reads nothing of it.
    """

    def __init__(self, name: str, cache: str | Path) -> None:
        self.name = name
        self._encoder: TextEncoder | None = None
        digest = blake2b(_place(name).encode(), digest_size=8).hexdigest()
        self._file = Path(cache) / f"{digest}.json"

    def facts(self) -> TeacherFacts:
        """Its facts: those that are kept, where no file of it has changed since; else it is read.

        Raises:
            FileNotFoundError: There is no such teacher.
            ValueError: It cannot teach.
        """
        seen = {"place": _place(self.name), "files": _files(self.name), "code": _loading_code()}
        try:
            kept = loads(self._file.read_text(encoding="utf-8"))
            if all(kept[name] == value for name, value in seen.items()):
                return TeacherFacts(**kept["facts"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        facts = TeacherFacts.of(self.load())
        with suppress(OSError):  # read-only, or full, which whoever has something to write will name
            write_json(self._file, {**seen, "facts": asdict(facts)})
        return facts

    def load(self, fingerprint: str = "") -> TextEncoder:
        """The teacher itself.

        Args:
            fingerprint: That of its facts.

        Raises:
            FileNotFoundError: There is no such teacher.
            ValueError: It holds no text encoder that teaches, its weights are not finite, or it is not the one that its
                facts are about.
        """
        if self._encoder is None:
            self._encoder = load_teacher(self.name)
            check_weights(self._encoder, f"model.teacher {self.name}")
        if fingerprint and self._encoder.fingerprint != fingerprint:
            self._file.unlink(missing_ok=True)
            raise ValueError(
                f"model.teacher {self.name} has changed, though its files' size and time have not: run again"
            )
        return self._encoder


def load_teacher(path: str) -> TextEncoder:
    """Loads a teacher.

    Args:
        path: What `model.teacher` names: a text encoder of any model, see `load_text_encoder`, or `random:SEED` for
            random weights of SAM3's size.

    Raises:
        FileNotFoundError: If there is no such path, and no such model on the hub.
        ValueError: If it holds no text encoder.
    """
    seed = _random_seed(path)
    if seed is not None:
        return Sam3TextEncoder.random(seed)
    return load_text_encoder(path, finite=False, for_sam3=False, what="teacher").requires_grad_(False)


def teacher_tokenizer(path: str) -> HubTokenizer | None:
    """The tokenizer of a teacher that reads other tokens than SAM3's, without its weights; None for SAM3's.

    Raises:
        FileNotFoundError: As `load_teacher`.
        ValueError: As `load_teacher`.
    """
    return load_tokenizer(path, "teacher") if _random_seed(path) is None else None


def check_teacher(teacher: TeacherFacts, path: str, student: Student, context_length: int) -> None:
    """Refuses a teacher that the student cannot learn from.

    Args:
        teacher: The teacher.
        path: What it is called.
        student: Who learns.
        context_length: Most tokens of a prompt of the data.

    Raises:
        ValueError: If its context is shorter, its features have another size, or its tokenizer another vocabulary.
    """
    if teacher.context_length < context_length:
        raise ValueError(
            f"data.context_length is {context_length}, but the teacher {path} has "
            f"{teacher.context_length} positions; lower it, and the student's with it"
        )
    rows = student.config["vocab_size"]
    if teacher.vocab_size is not None and rows != teacher.vocab_size:
        raise ValueError(
            f"the tokenizer of {path} has {teacher.vocab_size} tokens, and the student a table of {rows} rows; set "
            f"model.student.init_args.vocab_size to {teacher.vocab_size}"
        )
    if teacher.width != student.width:
        raise ValueError(
            f"the teacher's features have {teacher.width} values and the student's {student.width}; "
            f"set model.student.init_args.width to {teacher.width}"
        )


def quoted(prompt: str) -> str:
    """A prompt for a message, in quotes, at most 60 characters of it."""
    return repr(prompt if len(prompt) <= 60 else prompt[:57] + "...")


def _random_seed(name: str) -> int | None:
    kind, _, seed = name.partition(":")
    return int(seed) if kind == "random" and seed.isdigit() else None


def _place(name: str) -> str:
    """Where a teacher lies, absolute."""
    if _random_seed(name) is not None:
        return name
    return str(find_model(packaged(shipped(name))).resolve())


def _files(name: str) -> list[list[Any]]:
    """Name, size and time of each file of a teacher."""
    if _random_seed(name) is not None:
        return [["torch", torch.__version__, 0]]
    place = Path(_place(name))
    files = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
    return [[str(path.relative_to(place)), path.stat().st_size, path.stat().st_mtime_ns] for path in files]


def _loading_code() -> str:
    """Version of all code that reads weights: it decides what they are called, and so the fingerprint."""
    root = Path(__file__).parent.parent
    files = sorted([*root.glob("checkpoints/*.py"), *root.glob("models/text/*.py")])
    return code_version(tuple(file.relative_to(root).as_posix() for file in files))
