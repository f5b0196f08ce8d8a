"""The gate's second half: an export and its student before the same images."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from litetext.export import masks
from litetext.export.masks import Agreement, agreement_of, answers, benchmark_sam3, choose_pairs, through
from litetext.export.order import Order, Outcome, our_features
from litetext.models.sam3.image import Sam3Image
from litetext.shipped import shipped


def measure(order: Order, made: Outcome, folder: Path, pairs: int | None, exact: bool) -> Outcome:
    """Compares what an export finds in images with what its student finds.

    An export that holds a whole SAM3 is asked as its card says. Of others the features go into the shipped SAM3 that
    reads them, and into the one that was given.

    Args:
        order: The export as it was asked for.
        made: The export.
        folder: Where it lies.
        pairs: See `litetext.export.targets.export`.
        exact: It must find the same.

    Raises:
        ValueError: If `exact` and it finds something else.
    """
    if pairs == 0:
        return replace(made, unmeasured="no pairs were asked for (--pairs 0)")
    width = order.subject.student.width
    found: list[Agreement] = []
    why = ""
    if made.find is not None and made.whole is not None:
        name = order.sam3 or str(order.subject.about.get("teacher"))
        found.append(_compare(order, made, folder / made.whole, name, pairs))
    else:
        shipped_one = benchmark_sam3(width)
        if shipped_one is not None:
            found += _compare_files(order, made, Path(shipped(shipped_one)), shipped_one, pairs)
        if order.sam3 is not None and shipped(order.sam3) != (shipped_one and shipped(shipped_one)):
            try:
                found += _compare_files(order, made, Path(shipped(order.sam3)), order.sam3, pairs)
            except ValueError as error:
                why = str(error)
        elif shipped_one is None:
            why = f"no shipped SAM3 reads {width} values a token; name one with --sam3"
    if exact:
        for agreement in found:
            if agreement.fault and agreement.dtype == "fp32":
                raise ValueError(
                    f"nothing was written, since the export does not find what the student finds: {agreement.fault}: "
                    f"{agreement.line()}; accept it with --tolerance"
                )
    return replace(made, agreements=tuple(found), unmeasured=why)


def _compare_files(order: Order, made: Outcome, path: Path, name: str, pairs: int | None) -> list[Agreement]:
    """One comparison for each file of an export that has several."""
    if not made.also:
        return [_compare(order, made, path, name, pairs)]
    each = ((dtype, _compare(order, replace(made, hear=hear), path, name, pairs)) for dtype, hear in made.also.items())
    return [agreement._replace(where=f"{name}, {dtype}", dtype=dtype) for dtype, agreement in each]


def _compare(order: Order, made: Outcome, path: Path, name: str, pairs: int | None) -> Agreement:
    student = order.subject.student
    sam3 = Sam3Image.from_pretrained(path)
    sam3.check_width(student.width, order.subject.source)
    world = masks.world_of(student.width)
    asked = choose_pairs(sam3, pairs, world, made.fits)
    ours = answers(through(sam3, partial(our_features, student)), asked)
    if made.find is not None:
        del sam3  # the stock model is another copy of it
        theirs = made.find
    elif made.hear is not None:
        theirs = through(sam3, made.hear)
    else:
        raise TypeError("an export gives features or what it finds, one of them at least")
    return agreement_of(ours, answers(theirs, asked), name)
