"""The options that commands share, and how their texts become numbers. Imports nothing heavy."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Annotated

import typer

from crosshead.cli.errors import UsageError

LOSSES = ("softmax", "binary", "hinge", "squared_hinge", "crammer_singer", "squared_error")
SCALINGS = ("none", "standard", "maxabs")
ENGINES = ("auto", "native", "reference")
PRECISIONS = ("auto", "full")

SOURCES = (
    "a file (.npz, .npy, .csv, .tsv, .parquet, .feather, .arrow, svmlight, IDX), a folder of images, "
    "X.npy,y.npy, or a built-in data set (digits, iris, wine, breast_cancer)"
)

Source = Annotated[str, typer.Argument(metavar="SOURCE", help=f"The data: {SOURCES}.", show_default=False)]
ModelFolder = Annotated[
    str, typer.Argument(metavar="MODEL", help="A folder that `crosshead fit` wrote.", show_default=False)
]
Target = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="The column (table) or array (npz) that holds the labels.", show_default=False),
]
Ignore = Annotated[
    list[str] | None,
    typer.Option(metavar="COLUMN", help="A column of a table that is no feature; may be repeated.", show_default=False),
]
TestRows = Annotated[
    bool, typer.Option("--test-rows", help="Take the test rows that SOURCE brings along (npz with Xt, IDX).")
]
Precision = Annotated[
    str,
    typer.Option(metavar="|".join(PRECISIONS), help="auto: first passes in bfloat16 where that is faster."),
]
Engine = Annotated[str, typer.Option(metavar="|".join(ENGINES), help="What computes the passes.")]
Threads = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Threads. [default: all CPUs it may use]", show_default=False),
]
Labels = Annotated[
    str | None,
    typer.Option(
        metavar="SOURCE",
        help="Where the labels of predictions are, if not beside them: a source with the same rows in the same order.",
        show_default=False,
    ),
]
RowId = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="The column of predictions that names their rows. [default: row, file, id or row_id]",
        show_default=False,
    ),
]
Scores = Annotated[bool, typer.Option("--scores", help="Predictions are scores (logits), not probabilities.")]
Level = Annotated[str, typer.Option(metavar="NUMBER", help="Level of the bootstrap intervals.")]
Resamples = Annotated[int, typer.Option(min=20, metavar="N", help="Resamples of the bootstrap.")]
Seed = Annotated[int, typer.Option(metavar="N", help="Seed of everything random.")]
Bins = Annotated[int, typer.Option(min=1, metavar="N", help="Bins of the calibration errors.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


HIGHEST_SEED = (1 << 32) - 1


def choice(option: str, value: str, known: Sequence[str]) -> str:
    """The value, if it is one of those known.

    Examples
    --------
    >>> choice("--scale", "maxabs", SCALINGS)
    'maxabs'
    """
    if value not in known:
        raise UsageError(f"{option} {value}: choose one of {', '.join(known)}")
    return value


def number(option: str, text: str, *, lowest: float = 0.0, highest: float = math.inf) -> float:
    """A number or a fraction of two, between ``lowest`` and ``highest``.

    Examples
    --------
    >>> number("--alpha", "1/50000"), number("--alpha", "1e-4")
    (2e-05, 0.0001)
    """
    value = _quotient(text)
    if value is None or not math.isfinite(value):
        raise UsageError(f"{option} {text}: give a number such as 0.0001, 1e-4 or 1/10000")
    if not lowest <= value <= highest:
        limits = f"at least {lowest:g}" if highest == math.inf else f"between {lowest:g} and {highest:g}"
        raise UsageError(f"{option} {text}: it must be {limits}")
    return value


def numbers(option: str, text: str) -> list[float]:
    """The numbers of a list such as "3.2,5.1,-1.7" or "63/64,1/64"; each must be finite.

    Examples
    --------
    >>> numbers("--scores", "-1,2.5,1/4")
    [-1.0, 2.5, 0.25]
    """
    values = []
    for place, part in enumerate(text.split(","), start=1):
        value = _quotient(part)
        if value is None or not math.isfinite(value):
            raise UsageError(f"{option} {text}: number {place} is {part.strip()!r}; give finite numbers with commas")
        values.append(value)
    return values


def share(option: str, text: str) -> float:
    """A number strictly between 0 and 1.

    Examples
    --------
    >>> share("--level", "0.9"), share("--level", "9/10")
    (0.9, 0.9)
    """
    value = number(option, text)
    if not 0 < value < 1:
        raise UsageError(f"{option} {text}: it must lie between 0 and 1")
    return value


def whole(option: str, value: int, *, highest: int) -> int:
    """The value, if it lies between 0 and ``highest``.

    Examples
    --------
    >>> whole("--seed", 7, highest=9)
    7
    """
    if not 0 <= value <= highest:
        raise UsageError(f"{option} {value}: it must lie between 0 and {highest}")
    return value


def image_size(text: str | None) -> tuple[int, int] | None:
    """(height, width) from "WIDTHxHEIGHT"; one number is both.

    Examples
    --------
    >>> image_size("92x112"), image_size("28")
    ((112, 92), (28, 28))
    """
    if text is None:
        return None
    found = re.fullmatch(r"(\d+)(?:[xX×](\d+))?", text)
    if found is None or not all(int(side) for side in found.groups() if side is not None):
        raise UsageError(f"--size {text}: give width x height in pixels, such as 32x32")
    width = int(found[1])
    return (width if found[2] is None else int(found[2])), width


def held_out_fraction(text: str) -> float | None:
    """The fraction that ``--test`` asks for, or None where it names a source.

    Examples
    --------
    >>> held_out_fraction("0.2"), held_out_fraction("1/5"), held_out_fraction("test.csv")
    (0.2, 0.2, None)
    """
    value = _quotient(text)
    if value is None:
        return None
    if not 0.0 < value < 1.0:
        raise UsageError(f"--test {text}: a fraction of the rows must lie between 0 and 1")
    return value


def _quotient(text: str) -> float | None:
    above, slash, below = text.partition("/")
    try:
        return float(above) / float(below) if slash else float(above)
    except (ValueError, ZeroDivisionError):
        return None
