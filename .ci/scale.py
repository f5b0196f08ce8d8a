"""Writes .docs/pages/results/scale.md: what SA-Co Gold and VEval cost as a whole, from what their parts cost.

Run it as `python .ci/scale.py` on a machine that does little else. `--full` times a SAM3 of full size with random
weights too (3 GB of memory, some minutes of one thread).
"""

import argparse
import json
import textwrap
import time
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as coder

from litetext.bench.efficiency.cost import SAM3_TOKENS, prompt_flops, sam3_cost
from litetext.bench.machine import describe, machine
from litetext.commands.rehearse import DEVICES
from litetext.data.images.items import ImagePairs, Pair, SegItem, decode
from litetext.data.nouns.render import render
from litetext.data.nouns.scenes import draw_scene
from litetext.models.sam3.image import Sam3Image
from litetext.models.sam3.postprocess import finish
from litetext.models.text.mobileclip import MobileClipText
from litetext.modules.prepared import Prepare
from litetext.modules.records import Records, coco_results
from litetext.modules.resume_cache import ResumeCache
from litetext.modules.selecting import encode_instances
from litetext.saco.masklets import masklet_entry
from litetext.saco.masks import encode_masks

PAGE = Path(__file__).parent.parent / ".docs/pages/results/scale.md"
GOLD = (33_393, 13_258, 9_245, 20_687, 65_502, 13_951, 12_166)
"""Pairs of the released files: metaclip, sa1b, attributes, crowded, wiki_common, fg_food, fg_sports_equipment."""
GOLD_IMAGES, GOLD_PHRASES = 16_000, 51_577
VEVAL = (1_454, 1_504, 2_221, 2_237, 1_536, 1_416)
"""Pairs of the released files: test and val of sav, smartglasses and yt1b."""
PHRASES_A_VIDEO, FRAMES, TRACKED = 10, 120, 2
"""Assumed of VEval: phrases and frames a video, and objects that a phrase has in it."""
ENCODERS, TOKENS, EFFICIENCY = 2, 6, 0.4
"""Assumed: teacher and one student, tokens of a phrase, part of a device's arithmetic that is reached."""
SIZE, SQUARE, LOGITS, VIDEO = (1500, 2250), 1008, 288, (720, 1280)
"""Of images, of what SAM3 takes, of its mask logits, of frames."""
OBJECTS = 24
RATES = {name: rate * EFFICIENCY for name, rate in DEVICES.items()}


class Unit(NamedTuple):
    """What something costs once.

    Attributes:
        what: It.
        where: Who does it.
        seconds: Processor time of one thread here; None if it was not measured.
        flops: Operations on the device; 0 for what the host does.
    """

    what: str
    where: str
    seconds: float | None = None
    flops: float = 0.0


class Host(NamedTuple):
    """What the host does.

    Attributes:
        image: Seconds that an image takes the workers.
        mask: Seconds that the run lengths of a mask take.
        units: Rows of the table.
        record: Bytes of a pair with one mask in the records.
        prediction: Bytes of it in the predictions.
        tracked: Bytes of a masklet's mask in one frame.
    """

    image: float
    mask: float
    units: list[Unit]
    record: float
    prediction: float
    tracked: float


def timed(work: Callable[[], object], rounds: int = 5) -> float:
    """Median processor time of a piece of work."""
    work()
    taken = []
    for _ in range(rounds):
        begin = time.process_time()
        work()
        taken.append(time.process_time() - begin)
    return sorted(taken)[rounds // 2]


def logits() -> list[torch.Tensor]:
    """Masks of drawn nouns as SAM3 draws them: logits (1, y, x)."""
    found: list[torch.Tensor] = []
    for seed in range(OBJECTS):
        masks = torch.from_numpy(render(draw_scene(seed))[1]).bool()
        for one in masks[masks.flatten(1).any(1)]:
            small = torch.nn.functional.interpolate(one[None, None].float(), (LOGITS, LOGITS), mode="bilinear")
            found.append((small[0] - 0.5) * 20)
    return found[:OBJECTS]


def host(folder: Path) -> Host:
    """Measures what the host does, on a photo's size."""
    from transformers import Sam3ImageProcessor

    picture = torch.from_numpy(render(draw_scene(0))[0]).permute(2, 0, 1)
    image = torch.nn.functional.interpolate(picture[None].float(), SIZE, mode="bicubic")[0].clamp(0, 255).byte()
    file, path = BytesIO(), folder / "image.jpg"
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=90)
    path.write_bytes(file.getvalue())
    prepare = Prepare(Sam3ImageProcessor(size={"height": SQUARE, "width": SQUARE}))
    drawn, score, box = logits(), torch.tensor([0.91234]).double(), torch.tensor([[0.5, 0.5, 0.2, 0.2]])
    masks = [finish(score, box, one, SIZE).masks.numpy() for one in drawn]

    decoding, preparing = timed(lambda: decode(path, *SIZE)), timed(lambda: prepare(image))
    drawing = timed(lambda: [finish(score, box, one, SIZE) for one in drawn]) / OBJECTS
    encoding = timed(lambda: [encode_masks(one) for one in masks]) / OBJECTS
    four = np.concatenate(masks[:4])
    plain = timed(lambda: coder.encode(np.asfortranarray(four.astype(np.uint8).transpose(1, 2, 0)))) / 4

    pairs = [Pair(100_000 + n, "noun phrase", ()) for n in range(OBJECTS)]
    ratios = [[0.43219, 0.12345, 0.23456, 0.34567]]
    found = {pair.id: encode_instances([0.91234], ratios, masks[n], None) for n, pair in enumerate(pairs)}
    records = Records(ResumeCache(folder / "records", 0))
    records.add(records.key(SegItem("gold", path.name, image, pairs)), {"teacher": found})
    (stored,) = (folder / "records").iterdir()
    predictions = list(coco_results([ImagePairs("gold", path.name, path, *SIZE, pairs)], records, "teacher"))
    frames = [encode_masks(finish(score, box, one, VIDEO).masks.numpy())[0] for one in drawn]
    masklet = masklet_entry(0.91234, dict(enumerate(frames)), OBJECTS)
    units = [
        Unit("an image: read and decode", "worker processes", decoding),
        Unit("an image: preprocess and hash", "worker processes", preparing),
        Unit("a mask: bring it to the image's size", "device (here the processor)", drawing),
        Unit("a mask: run lengths", "threads", encoding),
        Unit("the same by pycocotools, four masks at once", "for comparison", plain),
    ]
    sizes = (stored.stat().st_size, len(json.dumps(predictions)), len(json.dumps(masklet)))
    return Host(decoding + preparing, encoding, units, *(size / OBJECTS for size in sizes))


def device(full: bool) -> list[Unit]:
    """Counts what a SAM3 of full size and two text encoders compute, and times the SAM3 if asked."""
    known = sam3_cost().flops
    with torch.device("meta"):
        student: Any = MobileClipText("s0").eval().requires_grad_(False)
    image, phrase = full_size() if full else (None, None)
    where = "device"
    return [
        Unit("vision tower, an image or frame", where, image, known["image"]),
        Unit("detector, a phrase of one text encoder", where, phrase, known["detector"]),
        Unit(f"SAM3's text encoder, {TOKENS} tokens", where, None, known["text"] * TOKENS / SAM3_TOKENS),
        Unit(f"MobileCLIP-S0, {TOKENS} tokens", where, None, prompt_flops(student, [TOKENS])[TOKENS]),
    ]


@torch.no_grad()
def full_size(phrases: int = 4) -> tuple[float, float]:
    """Seconds of an image and of a phrase through a SAM3 of full size with random weights."""
    from transformers import Sam3Config, Sam3Model

    config: Any = Sam3Config()
    config.text_config.num_hidden_layers = 1  # no text is encoded here
    sam3 = Sam3Image(Sam3Model(config).eval())
    begin = time.process_time()
    vision = sam3.encode_images(torch.zeros(1, 3, sam3.size, sam3.size))
    middle = time.process_time()
    sam3.detect(vision, torch.randn(phrases, TOKENS, sam3.width), torch.full((phrases,), TOKENS))
    return middle - begin, (time.process_time() - middle) / phrases


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; all columns but the first are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def told(text: str) -> str:
    """A paragraph."""
    return textwrap.fill(" ".join(text.split()), 120, break_on_hyphens=False)


def cell(value: float | None, digits: int = 1) -> str:
    """A number, or that there is none."""
    return "not measured" if value is None else f"{value:,.{digits}f}"


def hours(flops: float) -> list[str]:
    """Expected hours on one and on eight of each device."""
    return [f"{flops / rate / 3600 / count:,.2f}" for rate in RATES.values() for count in (1, 8)]


def page(full: bool) -> str:
    """The page."""
    torch.set_num_threads(1)
    about, parts = describe(machine()), device(full)
    with TemporaryDirectory() as folder:
        own = host(Path(folder))
    image, phrase, teacher, student = (part.flops for part in parts)
    pairs, tracked = sum(GOLD), sum(VEVAL)
    videos = tracked / PHRASES_A_VIDEO
    gold = GOLD_IMAGES * image + ENCODERS * pairs * phrase + GOLD_PHRASES * (teacher + student)
    veval = FRAMES * (videos * image + ENCODERS * tracked * phrase) + tracked * (teacher + student)
    followed = ENCODERS * tracked * TRACKED * FRAMES * own.tracked / 1e9
    rates = ", ".join(f"{name} {rate / 1e12:,.0f} TFLOP/s" for name, rate in RATES.items())
    costs = [
        [
            *(unit.what, unit.where, cell(None if unit.seconds is None else 1e3 * unit.seconds)),
            f"{unit.flops / 1e9:,.1f}" if unit.flops else "",
            *(f"{1e3 * unit.flops / rate:,.2f}" if unit.flops else "" for rate in RATES.values()),
        ]
        for unit in (*parts, *own.units)
    ]
    totals = [
        [f"Gold, {GOLD_IMAGES:,} images", f"{pairs:,}", f"{gold / 1e15:,.0f}", *hours(gold)]
        + [f"{ENCODERS * pairs * size / 1e9:.2f}" for size in (own.record, own.prediction)],
        [
            f"VEval, {videos:,.0f} videos",
            f"{tracked:,}",
            f"{veval / 1e15:,.0f}",
            *hours(veval),
            *[f"{followed:.2f}"] * 2,
        ],
    ]
    beside = [
        ["read, decode, preprocess (`data.num_workers`)", GOLD_IMAGES * own.image],
        ["run lengths (threads)", ENCODERS * pairs * own.mask],
    ]
    fastest = gold / max(RATES.values())
    hidden = [[str(what), f"{float(spent) / 3600:.2f}", f"{float(spent) / fastest:.2f}"] for what, spent in beside]
    head = ["data", "pairs", "PFLOP", *(f"{n} {name}, h" for name in RATES for n in ("one", "eight"))]
    head += ["records, GB", "predictions, GB"]
    measured = f"""Written by `python .ci/scale.py{" --full" if full else ""}`, not typed. Milliseconds are
        processor time of one thread, measured here ({about}). Operations are counted on modules of the sizes of
        `facebook/sam3`. Hours are operations by a rate, where the device never waits, and not measurements:
        {rates}, {EFFICIENCY:.0%} of the bfloat16 arithmetic that their makers give. `litetext rehearse`
        measures whole commands in the same terms."""
    files = f"""A pair's record takes {own.record:,.0f} bytes, its prediction {own.prediction:,.0f}, a masklet's mask in
        a frame {own.tracked:,.0f}. Records lie in the run's folder beside the predictions, and may be deleted
        when the run is done. Each further text encoder adds its passes through the detector and half of these
        files."""
    ranks = """So many processors a device hide it, as worker processes and threads. Eight processes share images by
        their cost, and wait for each other by files and not in a collective, which gives up after 30 minutes
        ([Devices and nodes](../guides/devices.md))."""
    assumed = (
        f"{ENCODERS} text encoders (teacher and one student), {TOKENS} tokens a phrase, one mask found a pair;",
        f"images of {SIZE[0]:,} x {SIZE[1]:,} pixels, {GOLD_IMAGES:,} of them; pairs are those of the released files;",
        f"of VEval {PHRASES_A_VIDEO} phrases and {FRAMES} frames of {VIDEO[0]:,} x {VIDEO[1]:,} pixels a video,",
        f"{TRACKED} objects a phrase in every frame, linked detections (SAM3's own tracker computes more, by object);",
        "masks are drawn nouns, brought from SAM3's logits to these sizes as its masks are.",
    )
    parts_head = ["once", "done by", "here, ms", "GFLOP", *(f"{name}, ms" for name in RATES)]
    keep_head = ["all of Gold", "processor hours", f"beside one {max(RATES, key=RATES.__getitem__)}"]
    return "\n\n".join(
        [
            "# Scale: all of SA-Co Gold and VEval",
            told(measured),
            "Assumed:",
            told(" ".join(assumed)),
            "## What the parts cost",
            table(parts_head, costs),
            "## Teacher and one student",
            table(head, totals),
            told(files),
            "## What must keep up with the device",
            table(keep_head, hidden),
            told(ranks) + "\n",
        ]
    )


def main() -> None:
    """Writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="time a SAM3 of full size too")
    PAGE.write_text(page(parser.parse_args().full), encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
