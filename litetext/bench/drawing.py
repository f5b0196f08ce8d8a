"""How fast the worlds are drawn: scenes, their pixels and masks, and phrases about them."""

import random
import time
from typing import Any

from litetext.bench.timing import Measured, Timings
from litetext.data import nouns
from litetext.data.shapes import world as shapes

PHRASES = 4
"""Phrases a scene."""


def bench_drawing(scenes: int = 200, rounds: int = 5) -> dict[str, Any]:
    """Draws, renders and describes scenes of nouns and of shapes, in turn, on one core.

    Other scenes in each round, and the processor's own time: other processes do not count.

    Args:
        scenes: Scenes a round.
        rounds: Rounds; medians count.

    Returns:
        Figures by name; rates are scenes a second, but for phrases.

    Raises:
        ValueError: A number is out of its range.
    """
    for name, value in {"scenes": scenes, "rounds": rounds}.items():
        if value < 1:
            raise ValueError(f"{name}={value} must be at least 1")
    timings = Timings(time.process_time)
    nouns.render(nouns.draw_scene(0))  # reads the sheet of drawings once
    for turn in range(rounds):
        numbers = range(turn * scenes, (turn + 1) * scenes)
        things = timings.run("nouns draw", lambda numbers=numbers: [nouns.draw_scene(n) for n in numbers])
        timings.run("nouns render", lambda things=things: [nouns.render(scene) for scene in things])
        timings.run(
            "nouns phrases",
            lambda things=things: [nouns.draw_phrases(s, PHRASES, random.Random(s.number)) for s in things],
        )
        forms = timings.run("shapes draw", lambda numbers=numbers: [shapes.draw_scene(n) for n in numbers])
        timings.run("shapes render", lambda forms=forms: [shapes.render(scene) for scene in forms])
        timings.run(
            "shapes phrases",
            lambda forms=forms: [shapes.draw_phrases(s, PHRASES, random.Random(n)) for n, s in enumerate(forms)],
        )
    found: dict[str, Any] = {"scenes": scenes}
    for world in ("nouns", "shapes"):
        parts = [f"{world} {part}" for part in ("draw", "render", "phrases")]
        found[f"{parts[0]}/s"] = timings.rate(parts[0], scenes)
        found[f"{parts[1]}/s"] = timings.rate(parts[1], scenes)
        found[f"{parts[2]}/s"] = timings.rate(parts[2], scenes * PHRASES)
        together = zip(*(timings.seconds[part] for part in parts), strict=True)
        found[f"{world} scenes with {PHRASES} phrases/s"] = Measured(scenes / sum(seconds) for seconds in together)
    return found
