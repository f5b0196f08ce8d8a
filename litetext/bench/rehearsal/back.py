"""Opens an exported text encoder and compares it with its student; `python -m litetext.bench.rehearsal.back`."""

import sys

import torch

PHRASES = ("red circle", "two small dogs beside a bicycle", "cup")
_MIN_COSINE = 0.999


def compare(exported: str, student: str) -> float:
    """The smallest cosine between a phrase's mean features, of the export as it opens and of the student.

    Args:
        exported: What `litetext export` wrote.
        student: The checkpoint that it was made of.

    Raises:
        FileNotFoundError: One of them is not there.
        ValueError: One of them cannot be read, or they differ.
    """
    from litetext.models.text.loading import load_text_encoder  # slow to import

    trained = load_text_encoder(student)
    # efficientsam3's file does not say its attention heads: 64 channels each at full size, not in the small students.
    opened = load_text_encoder(exported, heads=trained.config["heads"])
    found, expected = opened.encode(PHRASES), trained.encode(PHRASES)
    lowest = min(float(torch.cosine_similarity(found[p].mean(0), expected[p].mean(0), dim=0)) for p in PHRASES)
    if not lowest >= _MIN_COSINE:
        raise ValueError(f"{exported} has a cosine of {lowest:.4f} with {student}; it should be {_MIN_COSINE}")
    return lowest


if __name__ == "__main__":
    try:
        print(f"smallest cosine {compare(*sys.argv[1:]):.6f}")
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(f"litetext: error: {error}") from error
