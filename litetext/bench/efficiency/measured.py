"""One text encoder under measurement, in a process of its own so that its memory is its own."""

import gc
import os
import signal
import time
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from litetext.bench.efficiency.backends import FIXED_SHAPE, Backend, Run, prepare
from litetext.bench.efficiency.cost import prompt_flops
from litetext.bench.memory import MB, forget_peak, resident_mb
from litetext.models.text.encoder import TextEncoder, count_parameters, require_sam3_tokens
from litetext.models.text.loading import load_text_encoder
from litetext.models.text.mobileclip import PRESETS, STOCK_LENGTH, MobileClipText, Padding
from litetext.models.text.teacher import Sam3TextEncoder
from litetext.tokenizer import pad


class Spec(NamedTuple):
    """What to measure.

    Attributes:
        source: `teacher`, the name of a preset, or a path for `load_text_encoder`.
        contexts: Context lengths in tokens.
        lengths: Tokens of sample prompts by context, for their operations.
        backend: What runs it.
        dtype: What it computes in: float32, bfloat16, float16.
        device: Where.
        threads: CPU threads; None leaves torch's choice.
    """

    source: str
    contexts: Sequence[int]
    lengths: dict[int, list[int]]
    backend: Backend
    dtype: str
    device: str
    threads: int | None


class Cost(NamedTuple):
    """What an encoder costs at one context length, on whatever machine.

    Attributes:
        parameters: Exact count, the position table cut to the context.
        quantized: Those that become 8-bit numbers: the weights of linear layers.
        padded: Operations for one prompt filled to the context.
        filled: Operations for one prompt filled to the tokens of transformers' processor.
        unpadded: Operations for one sample prompt on average, no padding computed.
    """

    parameters: int
    quantized: int
    padded: int
    filled: int
    unpadded: int

    @property
    def megabytes(self) -> dict[str, float]:
        """Of the parameters, 2**20 bytes each; `int8` leaves all but the weights of linear layers in 32 bits."""
        kept = self.parameters - self.quantized
        sizes = {"fp32": 4 * self.parameters, "fp16": 2 * self.parameters, "int8": self.quantized + 4 * kept}
        return {name: size / MB for name, size in sizes.items()}


class Facts(NamedTuple):
    """What an opened encoder is.

    Attributes:
        kind: `sam3` for a teacher, otherwise `student`.
        longest: Rows of its position table; longer contexts are not in `costs`.
        trained: The padding that its weights were trained to see, in which alone they run; None where they see none.
        costs: By context length.
        threads: CPU threads in use.
        seconds: It took to build or load it.
    """

    kind: str
    longest: int
    trained: Padding | None
    costs: dict[int, Cost]
    threads: int
    seconds: float


PEAK = (
    "most memory held meanwhile, weights included: on CUDA what torch allocated, otherwise how far the process's "
    "resident memory rose above what torch takes alone; null where that was not read, as for ONNX Runtime, beside "
    "whose session the exported encoder lies"
)
"""What the memory of a pass is."""


class Pass(NamedTuple):
    """One pass over prompts.

    Attributes:
        seconds: Time of it, tokenizing not included.
        peak_mb: Its memory, see `PEAK`, in MB of 2**20 bytes; None where it was not read.
    """

    seconds: float
    peak_mb: float | None


class MeasuredEncoder:
    """An opened encoder.

    Args:
        spec: What to open.

    Raises:
        FileNotFoundError: If the path leads nowhere.
        ValueError: If it holds no text encoder.
    """

    def __init__(self, spec: Spec) -> None:
        if spec.threads is not None:
            torch.set_num_threads(spec.threads)
        began = time.perf_counter()
        self.spec = spec
        _load_libraries()
        self.empty_mb = resident_mb()
        encoder = open_encoder(spec.source, max(spec.contexts))
        self.encoder = encoder.to(spec.device).eval().requires_grad_(False)
        self.positions = encoder.embedding.position
        longest = len(self.positions)
        self.trained = trained_padding(encoder)
        costs = {length: self._cost(length) for length in spec.contexts if length <= longest}
        self.facts = Facts(
            kind=encoder.kind,
            longest=longest,
            trained=self.trained,
            costs=costs,
            threads=torch.get_num_threads(),
            seconds=time.perf_counter() - began,
        )
        encoder.to(getattr(torch, spec.dtype))
        self.positions = encoder.embedding.position
        self.run: Run = prepare(encoder, spec.backend, torch.get_num_threads())
        gc.collect()

    def _cost(self, length: int) -> Cost:
        """Counted on an encoder without weights, so that it takes no time on a busy machine."""
        with torch.device("meta"):
            blank, wide = (
                type(self.encoder)(**{**self.encoder.config, "context_length": n}).eval().requires_grad_(False)
                for n in (length, max(length, STOCK_LENGTH))
            )
        linear = [module.weight.numel() for module in blank.modules() if isinstance(module, nn.Linear)]
        sample = [length] if self.trained == "reference" else self.spec.lengths[length]
        flops = prompt_flops(blank, [length, *sample])
        return Cost(
            parameters=count_parameters(blank),
            quantized=sum(linear),
            padded=flops[length],
            filled=prompt_flops(wide, [STOCK_LENGTH])[STOCK_LENGTH],
            unpadded=round(sum(flops[n] for n in sample) / len(sample)),
        )

    def _use(self, length: int) -> None:
        """Makes it an encoder of this context length: the first rows of its position table, the last one repeated."""
        table = self.positions[:length]
        table = torch.cat([table, table[-1:].expand(length - len(table), -1)])
        self.encoder.embedding.position = nn.Parameter(table, requires_grad=False)
        self.encoder.context_length = length

    @torch.no_grad()
    def encode(
        self, context: int, padding: Padding, rows: list[list[int]], batch: int, watch_memory: bool = False
    ) -> Pass:
        """Encodes prompts and takes the time.

        Args:
            context: Context length.
            padding: `masked` computes valid tokens only, `reference` fills every prompt to the context, `transformers`
                to the 32 tokens of the stock processor.
            rows: Token ids of the prompts, at most `context` each.
            batch: Prompts at once.
            watch_memory: Read the memory, which takes a while before and after.
        """
        itself = self.trained == "transformers"  # it fills prompts on its own
        counts = padding == "reference" or (padding == "transformers" and not itself)
        context = STOCK_LENGTH if padding == "transformers" and not itself else context
        self._use(context)
        full = counts or self.spec.backend in FIXED_SHAPE
        batches: list[tuple[Tensor, Tensor]] = []
        for start in range(0, len(rows), batch):
            ids, lengths = pad(rows[start : start + batch], context if full else None)
            lengths = torch.full_like(lengths, context) if counts else lengths
            batches.append((ids.to(self.spec.device), lengths.to(self.spec.device)))
        if watch_memory:
            self._reset_peak()
        self._wait()
        began = time.perf_counter()
        for ids, lengths in batches:
            self.run(ids, lengths)
        self._wait()
        seconds = time.perf_counter() - began
        return Pass(seconds, self._peak_mb() if watch_memory and self.spec.backend != "onnx" else None)

    def _wait(self) -> None:
        kind = torch.device(self.spec.device).type
        if kind in ("cuda", "mps"):
            getattr(torch, kind).synchronize()

    def _reset_peak(self) -> None:
        if torch.device(self.spec.device).type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.spec.device)
        else:
            forget_peak()

    def _peak_mb(self) -> float | None:
        if torch.device(self.spec.device).type == "cuda":
            return torch.cuda.max_memory_allocated(self.spec.device) / MB
        peak = resident_mb("VmHWM")
        return None if peak is None or self.empty_mb is None else max(0.0, peak - self.empty_mb)


def open_encoder(source: str, longest: int) -> TextEncoder:
    """A random encoder of the real size by name, with a position table of `longest` rows, or one from a path."""
    if source == "teacher":
        return Sam3TextEncoder.random(0, context_length=longest)
    if source in PRESETS:
        return MobileClipText(source, context_length=longest)  # type: ignore[arg-type]  # one of the presets
    encoder = load_text_encoder(source)
    require_sam3_tokens(encoder.reads, source)  # what is measured is drawn as SAM3's tokens
    if encoder.position_vectors() is None:
        raise ValueError(f"{source} has no positions, and so computes alike at every context length; name another")
    return encoder


def trained_padding(encoder: nn.Module) -> Padding | None:
    """The padding that an encoder's weights were trained to see; None where they see none."""
    if getattr(encoder, "padding", "masked") == "reference":
        return "reference"
    return "transformers" if getattr(encoder, "fills", False) else None


def _load_libraries() -> None:
    """Runs a tiny encoder once, so that what PyTorch loads on first use is there before memory is read."""
    tiny = MobileClipText("nano", 4).eval().requires_grad_(False)
    prompt_flops(tiny, [4])
    tiny(torch.ones(8, 4, dtype=torch.int64), torch.full((8,), 3))


_OPEN: dict[str, MeasuredEncoder] = {}


def start() -> None:
    """Readies a child process; Ctrl-C is the parent's to handle."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")


def open_measured(spec: Spec) -> Facts:
    """Opens the encoder of this process."""
    _OPEN["encoder"] = MeasuredEncoder(spec)
    return _OPEN["encoder"].facts


def encode(context: int, padding: Padding, rows: list[list[int]], batch: int, watch_memory: bool) -> Pass:
    """`MeasuredEncoder.encode` of this process's encoder."""
    return _OPEN["encoder"].encode(context, padding, rows, batch, watch_memory)
