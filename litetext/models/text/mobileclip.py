"""The student: a MobileCLIP text tower and a projection to the features that SAM3 reads.

    ids ─ token + position ─► [RepMixer] ─► transformer x n ─► [RepMixer] ─► norm ─► projector ─► features

MobileCLIP: Vasu et al., CVPR 2024 (RepMixer: Vasu et al., FastViT, ICCV 2023); the tower cut to 16 tokens
with a projection per token: SAM3-LiteText. Published checkpoints: `litetext.checkpoints.text`.
"""

import copy
import logging
import os
from pathlib import Path
from typing import Any, Literal, cast, get_args

import torch
import torch.nn.functional as F
from huggingface_hub import PyTorchModelHubMixin, snapshot_download
from jaxtyping import Float, Int64
from torch import Tensor, nn

from litetext.checkpoints.text import LoadReport, TextState, read_text_state, require_match, resize_positions
from litetext.models.finite import check_weights
from litetext.models.hub import find_weights
from litetext.models.text.folder import read_text_files, student_of, write_text_folder
from litetext.models.text.row_norm import RowNorm
from litetext.models.text.student import Student
from litetext.models.text.transformer import Embedding, FilledPacking, Packing, TransformerBlock

log = logging.getLogger(__name__)

Padding = Literal["masked", "transformers", "reference"]
"""What a student does with the padding behind a prompt, see `MobileClipText`."""
PADDINGS = get_args(Padding)

MOST_TOKENS = 4096
"""Longest context that is built."""
STOCK_LENGTH = 32
"""Tokens to which transformers' `Sam3Processor` fills every prompt, whatever its tokenizer's settings are."""
PRESETS: dict[str, dict[str, Any]] = {
    "s0": {"embed_width": 512, "heads": 8, "layers": 4, "repmixer": True, "embedding_rank": 0, "width": 256},
    "s1": {"embed_width": 512, "heads": 8, "layers": 12, "repmixer": False, "embedding_rank": 0, "width": 256},
    "l": {"embed_width": 768, "heads": 12, "layers": 12, "repmixer": False, "embedding_rank": 0, "width": 256},
    "nano": {"embed_width": 48, "heads": 4, "layers": 2, "repmixer": False, "embedding_rank": 6, "width": 64},
}
"""Towers by name; `layers` counts transformer blocks, to which `repmixer` adds one block at each end."""

LAYER_SCALE = 1e-5
"""Initial scale of RepMixer branches, as in MobileCLIP."""


class DepthwiseConv(nn.Module):
    """One filter per channel along the tokens; padding tokens and positions beyond the ends count as zeros.

    Args:
        width: channels d.
        kernel_size: odd number of taps.
        bias: add one value per channel.
    """

    def __init__(self, width: int, kernel_size: int, bias: bool = False) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={kernel_size} must be odd, so that a token is its window's centre.")
        self.weight = nn.Parameter(torch.empty(width, 1, 1, kernel_size))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, rows: Float[Tensor, "n d"], packing: Packing) -> Float[Tensor, "n d"]:
        """Rows (N, d) -> rows (N, d)."""
        # As an image of height 1: the CPU has a fast 2-d depthwise kernel and none for 1-d.
        image = packing.unpack(rows).transpose(1, 2).unsqueeze(2)
        taps = self.weight.shape[3]
        mixed = F.conv2d(image, self.weight, self.bias, padding=(0, taps // 2), groups=self.weight.shape[0])
        return packing.pack(mixed.squeeze(2).transpose(1, 2))


class RepMixer(nn.Module):
    """x + scale * (skip(x) + conv_norm(conv(x)) - norm(x)): token mixing that folds into one convolution.

    The three norms are BatchNorms over the rows, that is over valid tokens only.
    """

    def __init__(self, width: int, kernel_size: int) -> None:
        super().__init__()
        self.norm = RowNorm(width)
        self.skip = RowNorm(width)
        self.conv = DepthwiseConv(width, kernel_size)
        self.conv_norm = RowNorm(width)
        # Three axes as in MobileCLIP: there, weight decay spares vectors only and so reaches this scale.
        self.scale = nn.Parameter(torch.full((1, 1, width), LAYER_SCALE))

    def forward(self, rows: Float[Tensor, "n d"], packing: Packing) -> Float[Tensor, "n d"]:
        """Rows (N, d) -> rows (N, d)."""
        seen = packing.counted
        mixed = self.skip(rows, seen) + self.conv_norm(self.conv(rows, packing), seen) - self.norm(rows, seen)
        return rows + self.scale[0] * mixed

    @torch.no_grad()
    def fold(self) -> DepthwiseConv:
        """The same map in eval mode as one convolution with bias (FastViT, section 3.2.1)."""

        def affine(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
            mean, var = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
            gain = norm.weight / torch.sqrt(var + norm.eps)
            return gain, norm.bias - mean * gain

        (skip, skip_bias), (conv, conv_bias), (norm, norm_bias) = map(affine, (self.skip, self.conv_norm, self.norm))
        scale, taps = self.scale[0, 0], self.conv.weight.shape[3]
        folded = DepthwiseConv(len(scale), taps, bias=True).to(self.scale)
        folded.weight.copy_(self.conv.weight * (scale * conv)[:, None, None, None])
        folded.weight[:, 0, 0, taps // 2] += 1 + scale * (skip - norm)
        cast(Tensor, folded.bias).copy_(scale * (skip_bias + conv_bias - norm_bias))
        return folded


class ConvMlp(nn.Module):
    """fc2(gelu(fc1(norm(conv(x))))): an MLP that first looks around."""

    def __init__(self, width: int, kernel_size: int) -> None:
        super().__init__()
        self.conv = DepthwiseConv(width, kernel_size)
        self.norm = RowNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)
        for linear in (self.fc1, self.fc2):
            nn.init.trunc_normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)

    def forward(self, rows: Float[Tensor, "n d"], packing: Packing) -> Float[Tensor, "n d"]:
        """Rows (N, d) -> rows (N, d)."""
        seen = self.conv(rows, packing)
        folded = packing.counted is None or not isinstance(self.norm, RowNorm)  # then there is nothing to count
        return self.fc2(F.gelu(self.fc1(self.norm(seen) if folded else self.norm(seen, packing.counted))))


class RepMixerBlock(nn.Module):
    """mixer(x), then x + scale * mlp(x)."""

    def __init__(self, width: int, kernel_size: int) -> None:
        super().__init__()
        self.mixer: RepMixer | DepthwiseConv = RepMixer(width, kernel_size)
        self.conv_mlp = ConvMlp(width, kernel_size)
        self.scale = nn.Parameter(torch.full((1, 1, width), LAYER_SCALE))

    def forward(self, rows: Float[Tensor, "n d"], packing: Packing) -> Float[Tensor, "n d"]:
        """Rows (N, d) -> rows (N, d)."""
        rows = self.mixer(rows, packing)
        return rows + self.scale[0] * self.conv_mlp(rows, packing)


class MobileClipText(
    Student, PyTorchModelHubMixin, library_name="litetext", tags=["sam3", "text-encoder", "knowledge-distillation"]
):
    """MobileCLIP's text tower with a linear projection of every token to SAM3's text features.

    At context 16: s0 42,541,312, s1 63,528,192, l 123,800,320 parameters, as published, counting the pooled
    projection that SAM3 never uses (`eot_projection`: kept for the checkpoints' sake, frozen, no gradient).

    Args:
        preset: tower to build; the arguments left at null take its values. `s0` has 4 transformer blocks
            between 2 RepMixer blocks, `s1` and `l` have 12 transformer blocks, `nano` suits a tiny teacher.
        context_length: longest prompt in tokens, start and end included; rows of the position table.
        width: size of an output feature: 256 for SAM3 (s0, s1, l), 64 for the shipped tiny SAM3 (nano).
        padding: `masked` makes a prompt's features independent of padding: attention skips it, convolutions
            see zeros there, BatchNorm statistics count valid tokens only. `transformers` is what the stock
            class computes behind its stock processor: end tokens fill a prompt to 32, attention skips them,
            convolutions see them; it makes a difference with `repmixer` only. `reference` reproduces the
            published weights: prompts are filled to context_length with id 0, which counts as a word.
        embed_width: size of a token vector inside the tower.
        heads: attention heads; must divide embed_width.
        layers: transformer blocks.
        repmixer: put a RepMixer block before and one after the transformer blocks.
        kernel_size: taps of the RepMixer blocks' convolutions; odd.
        embedding_rank: values stored per vocabulary entry, lifted to embed_width by one matrix; 0 stores
            embed_width values as MobileCLIP does.
        vocab_size: rows of the token table.
        pretrained: initial weights: a local file (Apple's MobileCLIP .pt, an open_clip .safetensors or .bin,
            an efficientsam3 or SAM3-LiteText checkpoint) or an open_clip tag, `MobileCLIP-S1:datacompdr`.
        pretrained_positions: a longer position table in `pretrained` is cut to its first rows (`slice`), or
            resampled to context_length (`interpolate`, what efficientsam3's trainer did).

    Raises:
        ValueError: unknown preset or padding, sizes that do not fit, or weights of another tower.
        FileNotFoundError: `pretrained` is neither a file nor an open_clip tag.
    """

    packs = True
    unused = ("eot_projection",)

    def __init__(
        self,
        preset: Literal["s0", "s1", "l", "nano"] = "s0",
        context_length: int = 16,
        width: int | None = None,
        padding: Padding = "masked",
        embed_width: int | None = None,
        heads: int | None = None,
        layers: int | None = None,
        repmixer: bool | None = None,
        kernel_size: int = 11,
        embedding_rank: int | None = None,
        vocab_size: int = 49408,
        pretrained: str | None = None,
        pretrained_positions: Literal["slice", "interpolate"] = "slice",
    ) -> None:
        super().__init__()
        if preset not in PRESETS:
            raise ValueError(f"preset={preset!r} is unknown; choose from {', '.join(PRESETS)}.")
        if padding not in PADDINGS:
            raise ValueError(f"padding={padding!r} is unknown; choose from {', '.join(PADDINGS)}.")
        if padding == "transformers" and context_length > STOCK_LENGTH:
            raise ValueError(
                f"context_length={context_length}, and padding: transformers fills prompts to {STOCK_LENGTH} tokens; "
                f"choose at most {STOCK_LENGTH}, or padding: masked."
            )
        given = {
            "width": width,
            "embed_width": embed_width,
            "heads": heads,
            "layers": layers,
            "repmixer": repmixer,
            "embedding_rank": embedding_rank,
        }
        size = PRESETS[preset] | {name: value for name, value in given.items() if value is not None}
        rest = {"context_length": context_length, "kernel_size": kernel_size, "vocab_size": vocab_size}
        for name, value in (size | rest).items():
            if value < (0 if name in ("layers", "repmixer", "embedding_rank") else 1):
                raise ValueError(f"{name}={value} must be positive.")
        if context_length > MOST_TOKENS:
            raise ValueError(
                f"context_length={context_length} is more than {MOST_TOKENS}; prompts have some 10 tokens."
            )
        self.config: dict[str, Any] = {"preset": preset, "padding": padding, **size, **rest}
        """Plain values from which `MobileClipText(**config)` builds this tower again."""
        self.context_length, self.padding = context_length, padding
        self.width: int = size["width"]
        d, blocks = size["embed_width"], size["layers"]

        self.embedding = Embedding(vocab_size, d, context_length, size["embedding_rank"])
        towers: list[nn.Module] = [TransformerBlock(d, size["heads"]) for _ in range(blocks)]
        if size["repmixer"]:
            towers = [RepMixerBlock(d, kernel_size), *towers, RepMixerBlock(d, kernel_size)]
        self.blocks = nn.ModuleList(towers)
        self.final_norm = nn.LayerNorm(d)
        self.eot_projection = nn.Parameter(torch.empty(d, d), requires_grad=False)
        self.projector = nn.Linear(d, self.width)
        self._reset()
        self.load_report: LoadReport | None = None
        if pretrained is not None:
            self.load_report = self.load_from(find_weights(pretrained), pretrained_positions)

    def _reset(self) -> None:
        self.embedding.reset()
        for block in self.blocks:
            if isinstance(block, TransformerBlock):
                block.reset(len(self.blocks))
        nn.init.normal_(self.eot_projection, std=self.eot_projection.shape[0] ** -0.5)

    def forward(
        self, ids: Int64[Tensor, "b l"], lengths: Int64[Tensor, " b"], valid: Int64[Tensor, " n"] | None = None
    ) -> Float[Tensor, "b l w"]:
        """Features of every token.

        Args:
            ids: token ids, padded at the end; L at most `context_length`.
            lengths: valid tokens of each prompt, start and end token included.
            valid: positions of the valid tokens in ids laid flat: knowing them saves a read from the device.

        Returns:
            Features (B, L, width). At padding: zeros, or where it is computed (`reference`, and `transformers`
            with RepMixer) what the published models give there.

        Raises:
            ValueError: L exceeds the position table, or a length lies outside 1..L.
        """
        batch, length = self.embedding.shape(ids)
        if self.padding == "reference":
            real = torch.arange(length, device=ids.device) < lengths[:, None]
            ids = F.pad(ids.masked_fill(~real, 0), (0, self.context_length - length))
            packing = Packing(None, batch, self.context_length)
        elif self.fills:
            real = torch.arange(length, device=ids.device) < lengths[:, None]
            last = self.config["vocab_size"] - 1  # SAM3's end token
            ids = F.pad(ids.masked_fill(~real, last), (0, STOCK_LENGTH - length), value=last)
            packing = FilledPacking(lengths, batch, STOCK_LENGTH, valid is not None)
        else:
            packing = Packing(lengths, batch, length, valid)
        rows = self.embedding(ids, packing)
        for block in self.blocks:
            rows = block(rows, packing)
        return packing.unpack(self.projector(self.final_norm(rows)))[:, :length]

    @property
    def fills(self) -> bool:
        """Whether prompts are filled to `STOCK_LENGTH` tokens, which convolutions alone can notice."""
        return self.padding == "transformers" and bool(self.config["repmixer"])

    def load_from(
        self, path: str | os.PathLike[str], positions: Literal["slice", "interpolate"] = "slice"
    ) -> LoadReport:
        """Loads the text tower of a checkpoint in any layout that `litetext.checkpoints.text` knows.

        Args:
            path: checkpoint file.
            positions: what to do with a position table of another length, see `pretrained_positions`.

        Returns:
            What was loaded and what kept its initial value (the projector, where the layout has none).

        Raises:
            FileNotFoundError: no such file.
            ValueError: unreadable file, no text tower in it, or one of another shape.
        """
        return self.load_state(read_text_state(path), positions)

    def load_state(self, found: TextState, positions: Literal["slice", "interpolate"] = "slice") -> LoadReport:
        """As `load_from`, of weights that have been read already.

        Raises:
            ValueError: weights of a tower of another shape.
        """
        state, resized = resize_positions(found.state, self.context_length, positions, found.source)
        report = require_match(self.state_dict(), state, found, note=resized)
        self.load_state_dict(state, strict=False)
        log.info(report.line)
        return report

    def _save_pretrained(self, save_directory: Path) -> None:
        write_text_folder(self, save_directory)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> "MobileClipText":
        """Opens a folder, here or on the hub, that `save_pretrained`, `push_to_hub` or `litetext export` wrote."""
        folder = Path(model_id)
        if not folder.is_dir():
            known = ("revision", "token", "cache_dir", "force_download", "local_files_only")
            given = {key: options[key] for key in known if options.get(key) is not None}
            patterns = ["config.json", "*.safetensors", "tokenizer*"]
            folder = Path(snapshot_download(model_id, allow_patterns=patterns, **given))
        student = cast(MobileClipText, student_of(read_text_files(folder), lambda config: cls(**config)))
        check_weights(student, model_id)
        return student

    def reparameterize(self) -> "MobileClipText":
        """A copy for inference, in eval mode, each RepMixer folded into one convolution; this module stays.

        The copy no longer loads or saves the layouts of training checkpoints: keep the original for that.
        """
        folded = copy.deepcopy(self).eval()
        for block in folded.blocks:
            if isinstance(block, RepMixerBlock) and isinstance(block.mixer, RepMixer):
                block.mixer = block.mixer.fold()
        return folded.requires_grad_(False)
