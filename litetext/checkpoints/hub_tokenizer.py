"""The tokenizer of another text encoder, carried as its files so that a student reads the same ids anywhere.

`tokenizer.json` is read by the `tokenizers` library alone; tokenizers that have none (SentencePiece without a
conversion, tokenizers written in Python) are opened by transformers from all of their files. No file of them is code.
"""

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Tokenizer as FastTokenizer
from torch import Tensor

from litetext.files import reason
from litetext.tokenizer import TokenBatch, Tokenizer, pad
from litetext.tokenizer.token_rows import TokenRows

Overflow = Literal["truncate", "error"]
Form = Literal["plain", "sentence"]
"""How a prompt is written before it is tokenized: as it is, or as Grounding DINO's sentence (lower case, full stop)."""

JSON = "tokenizer.json"
_ROLES = ("bos", "eos", "cls", "sep", "pad")


class HubTokenizer:
    """Prompts to token ids, as the tokenizer of a model of transformers gives them; stands in for `Tokenizer`.

    Args:
        files: The tokenizer's files by name; where `tokenizer.json` is among them, it says all.
        name: What it is called, for messages.
        context_length: Most tokens a prompt may have, those that the tokenizer adds included.
        form: How a prompt is written before it is cut.
        special: Ids that are no part of a prompt's words.
        overflow: `truncate` cuts a longer prompt as the tokenizer does, and counts it; `error` refuses it.
        sam3_ids: SAM3's id of each of its tokens, where it is SAM3's tokenizer with a part of its tokens.

    Attributes:
        truncated: Prompts cut so far.

    Raises:
        ValueError: If the files are no tokenizer, or `context_length` leaves no room for a word.
    """

    def __init__(
        self,
        files: Mapping[str, bytes],
        name: str,
        context_length: int = 32,
        form: Form = "plain",
        special: Sequence[int] = (),
        overflow: Overflow = "truncate",
        sam3_ids: Sequence[int] = (),
    ) -> None:
        if context_length < 3:
            raise ValueError(f"context_length={context_length} leaves no room between start and end; give at least 3")
        if overflow not in ("truncate", "error"):
            raise ValueError(f"overflow={overflow!r} is unknown; choose truncate or error")
        self.files, self.name = dict(files), name
        self.form: Form = form
        self.overflow: Overflow = overflow
        self.context_length, self.truncated = context_length, 0
        self.special = frozenset(int(number) for number in special)
        self.sam3_ids = tuple(int(number) for number in sam3_ids)
        self._opened: Any = None

    @classmethod
    def of(cls, tokenizer: Any, name: str, form: Form = "plain", extra: Sequence[int] = ()) -> "HubTokenizer":
        """Takes over a tokenizer of transformers.

        Args:
            tokenizer: The tokenizer.
            name: What it is called.
            form: See the class.
            extra: Ids that are no words beside the tokenizer's own special ones.
        """
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is not None and tokenizer.truncation_side == "right":
            whole = FastTokenizer.from_str(backend.to_str())
            whole.no_padding()
            whole.no_truncation()
            files = {JSON: whole.to_str().encode()}
        else:
            with tempfile.TemporaryDirectory() as folder:
                tokenizer.save_pretrained(folder)
                files = {file.name: file.read_bytes() for file in sorted(Path(folder).iterdir()) if file.is_file()}
        ids = (getattr(tokenizer, f"{role}_token_id", None) for role in _ROLES)
        return cls(files, name, form=form, special=[*(i for i in ids if i is not None), *extra])

    # Where it is kept

    def state(self) -> dict[str, Any]:
        """Plain values and tensors from which `from_state` makes it again, for a checkpoint."""
        files = {name: torch.frombuffer(bytearray(held), dtype=torch.uint8) for name, held in self.files.items()}
        return {**self.about(), "files": files}

    def about(self) -> dict[str, Any]:
        """What config.json says of it beside its files."""
        facts = {"name": self.name, "form": self.form, "special": sorted(self.special), "files": sorted(self.files)}
        return facts | ({"sam3_ids": list(self.sam3_ids)} if self.sam3_ids else {})

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "HubTokenizer":
        """A tokenizer of `state`.

        Raises:
            ValueError: If the state is damaged.
        """
        try:
            files = {
                name: bytes(held.numpy().tobytes()) if isinstance(held, Tensor) else bytes(held)
                for name, held in state["files"].items()
            }
            more = {"sam3_ids": state.get("sam3_ids", ())}
            return cls(files, str(state["name"]), form=state["form"], special=state["special"], **more)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"the tokenizer that is stored with the student is damaged ({error})") from error

    # What it makes of prompts

    @property
    def fingerprint(self) -> str:
        """Hash of all that decides the ids of a prompt; 32 hex digits."""
        held = hashlib.sha256(f"{self.form} {self.context_length} {self.overflow}".encode())
        for name, content in sorted(self.files.items()):
            held.update(f" {name} {len(content)} ".encode() + content)
        return held.hexdigest()[:32]

    @property
    def vocab_size(self) -> int:
        """Rows that a token table needs for its ids."""
        opened = self._open()
        if isinstance(opened, FastTokenizer):
            return 1 + max(opened.get_vocab(with_added_tokens=True).values(), default=-1)
        return 1 + max(opened.get_vocab().values(), default=-1)

    def cut_to(self, context_length: int, overflow: Overflow = "truncate") -> "HubTokenizer":
        """The same tokenizer for another context, its count at 0."""
        special = sorted(self.special)
        other = HubTokenizer(self.files, self.name, context_length, self.form, special, overflow, self.sam3_ids)
        other._opened = self._opened
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> "HubTokenizer":
        return self.cut_to(self.context_length, self.overflow)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def encode(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of prompts, unpadded, with what the tokenizer puts before and behind them.

        Raises:
            ValueError: If a prompt is no text, or too long under `overflow="error"`.
        """
        if isinstance(prompts, str | bytes):
            raise ValueError(f"prompts is one {type(prompts).__name__}, {prompts!r:.60}; give a list of prompts")
        prompts = list(prompts)
        rows = self._ids(prompts, None)
        long = [n for n, row in enumerate(rows) if len(row) > self.context_length]
        if long and self.overflow == "error":
            raise ValueError(
                f"prompt {prompts[long[0]]!r:.60} has {len(rows[long[0]])} tokens, more than context_length="
                f"{self.context_length}; shorten it, raise the context length, or choose overflow: truncate"
            )
        for n, row in zip(long, self._ids([prompts[n] for n in long], self.context_length), strict=True):
            rows[n] = row
        self.truncated += len(long)
        return rows

    def rows(self, prompts: Sequence[str]) -> TokenRows:
        """What `encode` gives, in two flat arrays."""
        return TokenRows.of(self.encode(prompts))

    def as_sam3(self, prompts: Sequence[str]) -> list[bool]:
        """Whether each prompt comes out in the tokens of SAM3's whole tokenizer; never without `sam3_ids`."""
        whole = Tokenizer(self.context_length).encode(prompts)
        own = self.cut_to(self.context_length).encode(prompts)
        known = self.sam3_ids
        return [bool(known) and [known[i] for i in row] == list(theirs) for row, theirs in zip(own, whole, strict=True)]

    def __call__(self, prompts: Sequence[str], length: int | None = None) -> TokenBatch:
        """Token ids of B prompts, padded with 0 to `length` or the longest of them."""
        return pad(self.encode(prompts), length)

    def token_text(self, number: int) -> str:
        """What a token id stands for, in the signs of its own vocabulary."""
        opened = self._open()
        found = (
            opened.id_to_token(number) if isinstance(opened, FastTokenizer) else opened.convert_ids_to_tokens(number)
        )
        if found is None:
            raise ValueError(f"token id {number} is outside the vocabulary of {self.name}")
        return str(found)

    def _ids(self, prompts: list[str], most: int | None) -> list[list[int]]:
        if not prompts:
            return []
        texts = [_checked(n, prompt) for n, prompt in enumerate(prompts)]
        if self.form == "sentence":
            texts = [sentence(text) for text in texts]
        opened = self._open()
        if not isinstance(opened, FastTokenizer):
            cut = {"truncation": True, "max_length": most} if most else {"truncation": False, "verbose": False}
            return [list(map(int, row)) for row in opened(texts, **cut)["input_ids"]]
        if most:
            opened.enable_truncation(most)
        try:
            # One by one: prompts are short, and once the library has used its threads, forks warn of them.
            return [opened.encode(text).ids for text in texts]
        finally:
            opened.no_truncation()

    def _open(self) -> Any:
        if self._opened is None:
            try:
                self._opened = _open_files(self.files)
            except Exception as error:  # both libraries raise many kinds
                raise ValueError(
                    f"the tokenizer of {self.name} cannot be opened ({type(error).__name__}: {reason(error)})"
                ) from error
        return self._opened


AnyTokenizer = Tokenizer | HubTokenizer
"""SAM3's tokenizer, or that of another text encoder."""


def sentence(prompt: str) -> str:
    """The form that Grounding DINO was trained with: lower case, a full stop at the end."""
    text = prompt.lower().strip()
    return text if text.endswith((".", "?")) else text + "."


def write_tokenizer(tokenizer: HubTokenizer, folder: Path) -> dict[str, Any]:
    """Writes a tokenizer's files into a folder.

    Returns:
        What config.json has to say of it, for `read_tokenizer`.
    """
    for name, content in tokenizer.files.items():
        (folder / name).write_bytes(content)
    return tokenizer.about()


def read_tokenizer(about: Any, folder: Path) -> HubTokenizer:
    """The tokenizer that `write_tokenizer` wrote.

    Args:
        about: What config.json says of it.
        folder: Where its files lie.

    Raises:
        ValueError: If a file is missing, or the description is damaged.
    """
    try:
        names = [str(name) for name in about["files"]]
        if any(Path(name).name != name for name in names):
            raise ValueError("a file's name leads out of the folder")
        files = {name: (folder / name).read_bytes() for name in names}
        return HubTokenizer.from_state({**about, "files": files})
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ValueError(f"{folder}: the student's tokenizer cannot be read ({error}); export it again") from error


def to_text(tokenizer: HubTokenizer) -> str:
    """The tokenizer as one line of text, for a header; `from_text` reads it."""
    return json.dumps({**tokenizer.about(), "files": {k: v.decode("latin-1") for k, v in tokenizer.files.items()}})


def from_text(text: str) -> HubTokenizer:
    """A tokenizer of `to_text`.

    Raises:
        ValueError: If the text is damaged.
    """
    state = json.loads(text)
    return HubTokenizer.from_state({**state, "files": {k: v.encode("latin-1") for k, v in state["files"].items()}})


def _checked(number: int, prompt: Any) -> str:
    if not isinstance(prompt, str):
        raise ValueError(f"prompt {number} is {type(prompt).__name__}, not text: {prompt!r:.60}; give str")
    try:
        prompt.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"prompt {prompt[:57]!r} holds a lone surrogate at character {error.start}: its source is not valid "
            "UTF-8; repair it, or decode it with errors='replace'"
        ) from None
    return prompt


def _open_files(files: Mapping[str, bytes]) -> Any:
    if set(files) == {JSON}:
        return FastTokenizer.from_str(files[JSON].decode("utf-8"))
    import transformers

    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / Path(name).name).write_bytes(content)
        return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
