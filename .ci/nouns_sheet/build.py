"""Builds the sheet of nouns that ships in `litetext/data/nouns`: sheet.webp, nouns.json and NOTICE.

The drawings come from npm packages of fixed versions, whose checksums are checked; the same packages and the same
versions of resvg-py and Pillow give the same bytes again.

    pip install resvg-py==0.5.0
    python .ci/nouns_sheet/build.py            # writes the files
    python .ci/nouns_sheet/build.py --check    # says whether the shipped files are what this script gives
"""

import argparse
import base64
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import resvg_py
from PIL import Image

HERE = Path(__file__).parent
HOME = HERE.parents[1] / "litetext" / "data" / "nouns"
# style -> (package, version, sha512 of the archive, licence line)
STYLES = {
    "fluent": (
        "@iconify-json/fluent-emoji-flat",
        "1.2.6",
        "458e3b4603dbe3b7d8522cab03ae2c20e2f4f94534dacdbdb17a4d05b2104415253e57cd1532949990c4446bb10ecffbc8d196a9062fb9a4983353387d15e553",
        "Fluent Emoji (flat), (c) Microsoft Corporation, MIT, https://github.com/microsoft/fluentui-emoji",
    ),
    "noto": (
        "@iconify-json/noto",
        "1.2.9",
        "0d08ae5c435bba7e35721f973d2579e47f456962a91d3cb3e3a6082ad49a2980f87c80c3ccbd6d47a1f89e9fd3dfc8dfad301e237adc285d26a8761e65502e6b",
        "Noto Emoji, (c) Google LLC, Apache-2.0, https://github.com/googlefonts/noto-emoji",
    ),
    "twemoji": (
        "@iconify-json/twemoji",
        "1.2.5",
        "b8aa6e204574bfa2b9056dcc8ddca5f972855406db70fc408227cabc432d668519079f98898e7368c9b6b8d342c725f301653dc8d2e58f8d5653afe6be000bb3",
        "Twemoji, (c) Twitter, Inc and other contributors, CC-BY 4.0, https://github.com/jdecked/twemoji",
    ),
}
NAMES = (
    "emojibase-data",
    "17.0.0",
    "62f81be405a81d588757f82ad6aaf96406ab7018a9f81dbbfd92d1b142646e000468b959fdfa1ff60f3cd8b4e9984a728413440b49b6484988b658c7b13ca08c",
    "emojibase-data (names in other languages), (c) Miles Johnson, MIT, https://github.com/milesj/emojibase",
)
MIT = """\
Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE."""
LANGUAGES = ("de", "fr", "es")
CELL = 48  # side of a cell
INNER = 46  # longest side of a drawing in it
FINE = 192  # side at which the drawings are rasterised
COLUMNS = 24


def unpack(package: tuple[str, str, str, str], place: Path) -> Path:
    """Downloads a package with npm, checks it and unpacks it; gives its folder."""
    name, version, checksum, _ = package
    told = subprocess.run(
        ["npm", "pack", f"{name}@{version}", "--silent"], cwd=place, check=True, capture_output=True, text=True
    )
    archive = place / told.stdout.split()[-1]
    if (found := hashlib.sha512(archive.read_bytes()).hexdigest()) != checksum:
        sys.exit(f"{name}@{version} has sha512 {found[:16]}..., expected {checksum[:16]}...")
    folder = place / archive.stem
    with tarfile.open(archive) as content:
        content.extractall(folder, filter="data")
    return folder / "package"


def read_list() -> list[dict[str, Any]]:
    """The rows of nouns.txt."""
    rows = []
    for line in (HERE / "nouns.txt").read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            label, words, categories, flags = (part.strip() for part in [*line.split("|"), "", ""][:4])
            rows.append(
                {
                    "label": label,
                    "words": [word.strip() for word in words.split(",")],
                    "categories": [word.strip() for word in categories.split(",") if word.strip()],
                    "rare": "rare" in flags.split(),
                    "open": "open" in flags.split(),
                }
            )
    return rows


def drawing(icons: dict[str, Any], code_points: dict[str, str], code: str) -> np.ndarray:
    """One drawing, cropped and centred: uint8 (CELL, CELL, 4), colours not multiplied by alpha, 0 where it is 0."""
    name = code_points.get(code) or code_points[code.replace("-fe0f", "")]
    name = icons.get("aliases", {}).get(name, {}).get("parent", name) if name not in icons["icons"] else name
    icon = icons["icons"][name]
    width, height = (icon.get(side, icons.get(side, 16)) for side in ("width", "height"))
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{icon.get("left", 0)} {icon.get("top", 0)} {width} {height}" width="{FINE}" height="{FINE}">'
        f"{icon['body']}</svg>"
    )
    png = resvg_py.svg_to_bytes(svg_string=svg, width=FINE, height=FINE)
    image = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
    box = image.getchannel("A").point([255 * (value > 40) for value in range(256)]).getbbox()
    image = image.crop(box)
    longest = max(image.size)
    small = tuple(max(1, round(side * INNER / longest)) for side in image.size)
    image = image.convert("RGBa").resize(small, Image.Resampling.BOX).convert("RGBA")
    cell = Image.new("RGBA", (CELL, CELL))
    cell.paste(image, ((CELL - small[0]) // 2, (CELL - small[1]) // 2))
    pixels = np.array(cell)
    pixels[pixels[..., 3] < 8] = 0
    return pixels


def build(place: Path) -> dict[str, bytes]:
    """The shipped files' contents by name."""
    rows = read_list()
    labels = unpack(NAMES, place)
    english = {entry["label"]: entry for entry in json.loads((labels / "en/data.json").read_text("utf-8"))}
    others = {
        language: {
            entry["hexcode"]: entry["label"]
            for entry in json.loads((labels / language / "data.json").read_text("utf-8"))
        }
        for language in LANGUAGES
    }
    blocks = []
    for package in STYLES.values():
        folder = unpack(package, place)
        icons, codes = (json.loads((folder / name).read_text("utf-8")) for name in ("icons.json", "chars.json"))
        cells = [drawing(icons, codes, english[row["label"]]["hexcode"].lower()) for row in rows]
        height = -(-len(cells) // COLUMNS)
        block = np.zeros((height * CELL, COLUMNS * CELL, 4), dtype=np.uint8)
        for n, cell in enumerate(cells):
            top, left = n // COLUMNS * CELL, n % COLUMNS * CELL
            block[top : top + CELL, left : left + CELL] = cell
        blocks.append(block)
    sheet = np.concatenate(blocks)
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "webp", lossless=True, quality=100, method=6, exact=True)
    nouns = []
    for row in rows:
        code = english[row.pop("label")]["hexcode"]
        nouns.append({**row, "emoji": code, "names": {language: table[code] for language, table in others.items()}})
    about = {
        "cell": CELL,
        "columns": COLUMNS,
        "styles": list(STYLES),
        "checksum": base64.b16encode(hashlib.sha256(sheet.tobytes()).digest()).decode().lower(),
    }
    lines = [json.dumps(noun, ensure_ascii=False) for noun in nouns]
    table = json.dumps(about)[:-1] + ', "nouns": [\n' + ",\n".join(lines) + "\n]}\n"
    notice = [
        "sheet.webp holds drawings of these sets, rasterised at 48 x 48 pixels and otherwise unchanged;",
        "nouns.json holds names of the last. Images drawn from the sheet show them turned, mirrored and recoloured.",
        "",
        *(f"- {package[3]} (npm {package[0]} {package[1]})" for package in (*STYLES.values(), NAMES)),
        "",
        "Apache-2.0: https://www.apache.org/licenses/LICENSE-2.0; CC-BY 4.0:",
        "https://creativecommons.org/licenses/by/4.0/; MIT:",
        "",
        MIT,
    ]
    return {
        "sheet.webp": buffer.getvalue(),
        "nouns.json": table.encode(),
        "NOTICE": ("\n".join(notice) + "\n").encode(),
    }


def main() -> None:
    """Writes or checks the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a shipped file differs")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as place:
        files = build(Path(place))
    different = [name for name, content in files.items() if not check or (HOME / name).read_bytes() != content]
    for name, content in files.items():
        if not check:
            (HOME / name).write_bytes(content)
        print(f"{name}: {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}")
    if check and different:
        sys.exit(f"differ from what ships: {', '.join(different)}")


if __name__ == "__main__":
    main()
