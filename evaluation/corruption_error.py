"""Mean corruption error against a baseline network (Hendrycks & Dietterich, ICLR 2019, section 4).

With E the error at severity s of corruption c, f the network, b the baseline:

    mCE          = mean over c of  sum_s E(f, s, c)            / sum_s E(b, s, c)
    relative mCE = mean over c of  sum_s (E(f, s, c) - E(f))   / sum_s (E(b, s, c) - E(b))

in per cent; E(f), E(b) are the clean errors. The baseline's branch is its clean one.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from dataset.corruptions import CORRUPTIONS, SEVERITIES
from formats.measured import Accuracy, Origin
from formats.results import Results
from helper.errors import UserError
from reporting.tables import counted, origin_in_words


def whole_benchmark(names: Sequence[str], severities: Sequence[int]) -> bool:
    """Whether means over these can be compared with those of others."""
    return set(CORRUPTIONS) <= set(names) and tuple(severities) == SEVERITIES


def corruption_errors(accuracy: dict, baseline: Results) -> tuple[dict, list[str]]:
    """({'mCE': {branch: %}, 'relative_mCE': {branch: %}}, what stands in their way, in sentences).

    A quotient whose denominator is not positive means nothing: that metric is then left out, and a sentence says so.
    Neither is given for a part of the benchmark.
    """
    reference = baseline.accuracy
    if not whole_benchmark(list(next(iter(_rows(reference).values()))), reference.at_severities):
        return {}, ["no mCE or relative mCE, as no NPA: they are of all 15 corruptions at all 5 severities"]
    return quotients(accuracy, reference)


def quotients(accuracy: dict, reference: Accuracy) -> tuple[dict, list[str]]:
    """`corruption_errors`, over the corruptions and severities that `reference`, the baseline's accuracy, has."""
    branch = min(_rows(reference), key=int)
    rows, clean = _rows(reference)[branch], reference.CA[branch]
    found, sentences = {}, []
    for metric, drop in (("mCE", False), ("relative_mCE", True)):
        below = {name: sum(_errors(row, clean if drop else None)) for name, row in counted(rows).items()}
        unhurt = [name for name, value in below.items() if value <= 0]
        if unhurt:
            sentences.append(f"no {metric}: {', '.join(unhurt)} costs the baseline nothing")
            continue
        found[metric] = {
            branch: 100
            * mean(
                sum(_errors(own[name], accuracy["CA"][branch] if drop else None)) / value
                for name, value in below.items()
            )
            for branch, own in accuracy["corruptions"].items()
        }
    return found, sentences


def _rows(reference: Accuracy) -> dict[str, dict[str, tuple[float, ...]]]:
    """`check_baseline` has seen that there are some."""
    return reference.corruptions or {}


def _errors(row: Sequence[float], clean: float | None) -> list[float]:
    """Errors at all severities, or how far they lie above the clean error."""
    return [100 - value if clean is None else clean - value for value in row]


def check_baseline(results: Results, path: str, dataset: str, corruptions: list[str], severities: list[int]) -> None:
    """Raises UserError where the baseline is of another data set, or lacks a cell of the table."""
    if results.dataset != dataset:
        raise UserError(f"--baseline {path} is on {results.dataset}, this network is on {dataset}")
    accuracy = results.accuracy
    if not accuracy.corruptions or not results.corrupted_images:
        raise UserError(f"--baseline {path} has no corruption table; measure it with the same corruptions first")
    rows = next(iter(accuracy.corruptions.values()))
    if set(rows) != set(corruptions) or list(accuracy.at_severities) != severities:
        raise UserError(
            f"--baseline {path} has {len(rows)} corruptions at severities {list(accuracy.at_severities)}, this "
            f"evaluation {len(corruptions)} at {severities}; choose the same --corruptions and --severities"
        )


def baseline_warnings(images: int, ours: Origin | None, baseline: Results) -> list[str]:
    """What makes the two not quite comparable: `images` of them, and where the corrupted ones come from."""
    sentences, theirs = [], baseline.corrupted_images
    if ours and theirs and _made(ours) != _made(theirs) and not _same_bytes(ours, theirs):
        sentences.append(
            f"the baseline was measured on other corrupted images ({origin_in_words(theirs)}) than this network "
            f"({origin_in_words(ours)})"
        )
    if images != baseline.accuracy.images:
        sentences.append(
            f"the baseline was measured on {baseline.accuracy.images:,} images, this network on {images:,}"
        )
    return sentences


def _made(images: Origin) -> tuple:
    return images.origin, images.seed, images.frost


def _same_bytes(ours: Origin, theirs: Origin) -> bool:
    """Generated on disk and generated on the fly are the same images, given the same seed and frost."""
    return "published" not in (ours.origin, theirs.origin) and _made(ours)[1:] == _made(theirs)[1:]
