"""The gate's second half: an export and its student before the same images."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from litetext.export import masks
from litetext.export.masks import MaskAgreement, agreement_of, answers, benchmark_sam3, choose_pairs, through
from litetext.export.request import ExportRequest, ExportResult, our_features
from litetext.models.sam3.image import Sam3Image
from litetext.shipped import shipped


def measure(request: ExportRequest, result: ExportResult, folder: Path, pairs: int | None, exact: bool) -> ExportResult:
    """Compares an export's predictions on images with its student's.

    An export that holds a whole SAM3 is run as its card says. Of others the features go into the shipped SAM3 that
    reads them, and into the one that was given.

    Args:
        request: The request for the export.
        result: The export.
        folder: Where it lies.
        pairs: See `litetext.export.targets.export`.
        exact: It must find the same.

    Raises:
        ValueError: If `exact` and it predicts something else.
    """
    if pairs == 0:
        return replace(result, unmeasured="no pairs were asked for (--pairs 0)")
    width = request.source.student.width
    found: list[MaskAgreement] = []
    why = ""
    if result.segment is not None and result.whole is not None:
        name = request.sam3 or str(request.source.about.get("teacher"))
        found.append(_compare(request, result, folder / result.whole, name, pairs))
    else:
        shipped_one = benchmark_sam3(width)
        if shipped_one is not None:
            found += _compare_files(request, result, Path(shipped(shipped_one)), shipped_one, pairs)
        if request.sam3 is not None and shipped(request.sam3) != (shipped_one and shipped(shipped_one)):
            try:
                found += _compare_files(request, result, Path(shipped(request.sam3)), request.sam3, pairs)
            except ValueError as error:
                why = str(error)
        elif shipped_one is None:
            why = f"no shipped SAM3 reads {width} values a token; name one with --sam3"
    if exact:
        for agreement in found:
            if agreement.fault and agreement.dtype == "fp32":
                raise ValueError(
                    f"nothing was written, since the export does not predict what the student predicts: "
                    f"{agreement.fault}: {agreement.line()}; accept it with --tolerance"
                )
    return replace(result, agreements=tuple(found), unmeasured=why)


def _compare_files(
    request: ExportRequest, result: ExportResult, path: Path, name: str, pairs: int | None
) -> list[MaskAgreement]:
    """One comparison for each file of an export that has several."""
    if not result.also:
        return [_compare(request, result, path, name, pairs)]
    each = (
        (dtype, _compare(request, replace(result, encode=encode), path, name, pairs))
        for dtype, encode in result.also.items()
    )
    return [agreement._replace(where=f"{name}, {dtype}", dtype=dtype) for dtype, agreement in each]


def _compare(request: ExportRequest, result: ExportResult, path: Path, name: str, pairs: int | None) -> MaskAgreement:
    student = request.source.student
    sam3 = Sam3Image.from_pretrained(path)
    sam3.check_width(student.width, request.source.checkpoint)
    world = masks.world_of(student.width)
    chosen = choose_pairs(sam3, pairs, world, result.fits)
    ours = answers(through(sam3, partial(our_features, student)), chosen)
    if result.segment is not None:
        del sam3  # the stock model is another copy of it
        theirs = result.segment
    elif result.encode is not None:
        theirs = through(sam3, result.encode)
    else:
        raise TypeError("an export gives features or predictions, one of them at least")
    return agreement_of(ours, answers(theirs, chosen), name)
