"""`litetext demo`: a page on this machine that shows what teacher and student find, side by side."""

import html
import importlib
import os
import socket
import tempfile
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from litetext.commands.error_lines import missing_operator, out_of_memory
from litetext.commands.parsing import renamed
from litetext.commands.startup import importing
from litetext.shipped import SHORT, STUDENTS, shipped, world_of

if TYPE_CHECKING:
    from litetext.commands.comparison import Answer, Side

HOST = "127.0.0.1"
_SCENES = 4
"""Rendered images to begin with."""
_QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_RUN_HISTORY": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
_POLICY = b"default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'"
"""The browser asks nobody but this server, whatever the page's scripts want."""
_BUTTONS = ["download", "fullscreen"]
"""On images; Gradio's default has one that shares them on a public site."""
_NAMES = ("Teacher", "Student")
_EMPTY = "&nbsp;"
_CAPTION, _PICTURE, _TABLE = 64, 480, 200
"""Heights in pixels: of what stands above a picture, of a picture, and at least of the table."""
_STYLE = """
.gradio-container {width: 100% !important; max-width: 1200px !important; margin: auto}
.gradio-container main, .gradio-container .wrap.fillable {width: 100% !important}
table.found {width: 100%; font-variant-numeric: tabular-nums}
table.found, table.found tr {border-width: 0 !important; padding: 0 !important}
table.found th, table.found td {text-align: left; vertical-align: top; padding: 4px 12px 4px 0 !important;
  border-width: 0 0 1px !important; border-color: var(--border-color-primary) !important}
"""


def caption(name: str, side: "Side", phrases: int) -> str:
    """What stands above a picture, in Markdown."""
    many = "phrase" if phrases == 1 else "phrases"
    return (
        f"### {name}\n{side.parameters:,} parameters on the text side · "
        f"{phrases:,} {many} read in {1000 * side.seconds:,.1f} ms{side.remark and f' · {side.remark}'}"
    )


def table(answer: "Answer") -> str:
    """Scores of both sides as HTML; phrases are shown as they were written, never run."""

    def message(scores: list[float]) -> str:
        return " ".join(f"{score:.2f}" for score in scores) or "nothing"

    rows = zip(answer.phrases, answer.teacher.scores, answer.student.scores, answer.shared, strict=True)
    lines = [
        f"<tr><td>{html.escape(phrase)}</td><td>{message(one)}</td><td>{message(other)}</td>"
        f"<td>{'' if shared is None else f'{shared:.3f}'}</td></tr>"
        for phrase, one, other, shared in rows
    ]
    head = "<tr><th>phrase</th><th>teacher</th><th>student</th><th>IoU of the two</th></tr>"
    return f"<table class='found'>{head}{''.join(lines)}</table>"


def examples(folder: Path, world: str = "shapes") -> list[list[str]]:
    """Held-out scenes to begin with: paths of PNG files, each with phrases that are true or false of it.

    Args:
        folder: Where the files go.
        world: The world they show: `shapes` or `nouns`.
    """
    import random

    from PIL import Image

    if world == "nouns":
        from litetext.data.nouns.examples import find_scenes
        from litetext.data.nouns.phrases import draw_phrases as draw_nouns
        from litetext.data.nouns.render import render as render_nouns

        drawn = [
            (render_nouns(scene)[0], draw_nouns(scene, 4, random.Random(scene.number), negatives=0.3))
            for scene in islice(find_scenes(), _SCENES)
        ]
    else:
        from litetext.data.shapes.world import FIRST_HELD_OUT, draw_phrases, draw_scene, render

        numbers = range(FIRST_HELD_OUT, FIRST_HELD_OUT + _SCENES)
        scenes = [(number, draw_scene(number)) for number in numbers]
        drawn = [
            (render(scene), draw_phrases(scene, 4, random.Random(number), negatives=0.3)) for number, scene in scenes
        ]
    rows = []
    for number, (pixels, phrases) in enumerate(drawn):
        file = folder / f"{world}-{number}.png"
        Image.fromarray(pixels).save(file)
        rows.append([str(file), "\n".join(dict.fromkeys(phrase.text for phrase in phrases))])
    return rows


def build(answer: Callable[[str, Sequence[str], float], "Answer"], samples: list[list[str]]) -> Any:
    """The page, not yet served.

    Args:
        answer: As `Comparison.answer`.
        samples: As `examples` gives them; the first is filled in.

    Returns:
        The `gradio.Blocks`.
    """
    gradio = _gradio()

    def compare(image: str | None, text: str, threshold: float) -> tuple[Any, ...]:
        if image is None:
            raise gradio.Error("there is no image; choose one, or take one of the examples", print_exception=False)
        try:
            found = answer(image, text.splitlines(), threshold)
        except (ValueError, RuntimeError, MemoryError) as error:
            told = out_of_memory(error, "demo") or missing_operator(error, "demo")
            said = error if isinstance(error, ValueError) else told
            if said is None:
                raise
            message = str(said).replace(image, Path(image).name)  # not where gradio keeps it
            raise gradio.Error(html.escape(message), print_exception=False) from error
        count = len(found.phrases)
        teacher, student = (caption(name, side, count) for name, side in zip(_NAMES, found[1:3], strict=True))
        return teacher, found.teacher.picture, student, found.student.picture, table(found)

    with gradio.Blocks(title="litetext demo", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        gradio.Markdown("# Teacher and student\nOne SAM3, two text encoders: its own, and a student's. All runs here.")
        with gradio.Row():
            image = gradio.Image(
                samples[0][0],
                type="filepath",
                image_mode=None,
                sources=["upload", "clipboard"],
                label="Image",
                height=300,
            )
            # Opened by litetext alone, which says in one line what it cannot read; gradio has checked where it lies.
            image.preprocess = lambda payload: payload and payload.path
            with gradio.Column():
                text = gradio.Textbox(samples[0][1], lines=5, label="Phrases, one a line")
                threshold = gradio.Slider(0.05, 0.95, 0.5, step=0.05, label="Least score")
                button = gradio.Button("Segment", variant="primary")
        sides = []
        with gradio.Row():
            for name in _NAMES:
                with gradio.Column(min_width=240):
                    # As tall before the first result as after it: nothing on the page moves.
                    sides.append(gradio.Markdown(f"### {name}\n{_EMPTY}", min_height=_CAPTION))
                    sides.append(
                        gradio.Image(
                            format="png", interactive=False, show_label=False, buttons=_BUTTONS, height=_PICTURE
                        )
                    )
        scores = gradio.HTML(min_height=_TABLE)
        button.click(
            compare, [image, text, threshold], [*sides, scores], api_name="compare", show_progress_on=sides[1::2]
        )
        gradio.Examples(samples, [image, text], label="Examples")
    return page


def serve(page: Any, port: int) -> str:
    """Serves the page on 127.0.0.1 alone, and comes back at once; `page.close()` ends it.

    Args:
        page: From `build`.
        port: A free one.

    Returns:
        Its address.

    Raises:
        ValueError: The port is taken meanwhile.
    """
    gradio = _gradio()
    seal = importlib.import_module("starlette.middleware").Middleware(_Sealed)
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    # Named one by one, since each of them has a GRADIO_... variable that would decide otherwise.
    try:
        _, address, _ = page.launch(
            server_name=HOST,
            server_port=port,
            share=False,
            root_path="",
            ssr_mode=False,
            mcp_server=False,
            enable_monitoring=False,
            footer_links=[],
            prevent_thread_lock=True,
            show_error=True,
            quiet=True,
            app_kwargs={"middleware": [seal]},
            theme=gradio.themes.Default(**fonts),
            css=_STYLE,
        )
    except OSError as error:
        raise ValueError(f"--port {port} cannot be served: {error}; choose another port") from error
    return address


class _Sealed:
    """Tells the browser to fetch nothing from elsewhere."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def sealed(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", _POLICY)]
            await send(message)

        await self.app(scope, receive, sealed if scope["type"] == "http" else send)


def _gradio() -> Any:
    os.environ.update(_QUIET)  # before the import, which reads them
    try:
        return importlib.import_module("gradio")
    except ModuleNotFoundError as error:
        raise ValueError("litetext demo needs gradio, which is not installed: pip install 'litetext[demo]'") from error


def _check_port(port: int) -> None:
    if not 1 <= port <= 65535:
        raise ValueError(f"--port is {port}; choose one from 1 to 65535")
    with socket.socket() as probe:
        if os.name == "posix":  # a port that was just left counts as free, as it does for the server
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ValueError(f"--port {port} cannot be had ({error.strerror}); choose another one") from error


def _shipped_student(sam3: str) -> str:
    for world, model in SHORT.items():
        if Path(shipped(sam3)).resolve() == Path(shipped(model)).resolve():
            return STUDENTS[world]
    raise ValueError(f"no student ships for --sam3 {sam3}; name one: --text_encoder checkpoints/NAME/best.ckpt")


@renamed(model="sam3")
def demo(
    *,
    sam3: str = "checkpoints/sam3-nouns",
    text_encoder: str | None = None,
    port: int = 7860,
    device: str | None = None,
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "float32",
) -> None:
    """Serves a page to this machine alone, http://127.0.0.1:7860, until Ctrl-C.

    It segments an image with SAM3's own text encoder and with a student's, side by side. Needs gradio: pip install
    'litetext[demo]'.

    Args:
        sam3: A SAM3 in transformers' layout: a folder or a hub id (facebook/sam3); nouns and shapes are short for the
            shipped ones.
        text_encoder: The student's: a .ckpt of litetext fit, or published SAM3-LiteText weights; by default the one
            that ships for a shipped SAM3.
        port: Where the page is served.
        device: Such as cpu, cuda:1 or mps; by default a GPU (CUDA, else Apple's) where there is one.
        dtype: Type of the segmenter's weights and computation; auto is bfloat16 on a GPU that computes in it, and
            float32 elsewhere.

    Raises:
        FileNotFoundError: If a model does not exist.
        ValueError: If gradio is missing, the port cannot be had, or a model cannot be read.
    """
    _check_port(port)
    text_encoder = text_encoder or _shipped_student(sam3)
    _gradio()
    with importing():
        from litetext.commands.comparison import Comparison

    comparison = Comparison(sam3, text_encoder, device, dtype)
    with tempfile.TemporaryDirectory(prefix="litetext-demo-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # uploads go when the page goes
        page = build(comparison.answer, examples(Path(folder), world_of(sam3)))
        print(f"teacher and student side by side: {serve(page, port)} (Ctrl-C ends it)", flush=True)
        page.block_thread()
