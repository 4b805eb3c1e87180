"""The options that commands share: name, type, help and check, each said once. Imports nothing heavy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import typer

from crosshead.cli.command import Reads
from crosshead.cli.options import values

LOSSES = ("softmax", "binary", "hinge", "squared_hinge", "crammer_singer", "squared_error")
SCALINGS = ("none", "standard", "maxabs")
ENGINES = ("auto", "native", "reference")
PRECISIONS = ("auto", "full")
CLASS_WEIGHTS = ("balanced",)

SOURCES = (
    "a file (.npz, .npy, .csv, .tsv, .parquet, .feather, .arrow, svmlight, IDX), a folder of images, "
    "X.npy,y.npy, or a built-in data set (digits, iris, wine, breast_cancer)"
)


def one_of(known: Sequence[str]) -> Reads:
    """Read one of the names that are known."""
    return Reads(partial(values.choice, known=known))


def a_number(highest: float = math.inf) -> Reads:
    """Read a number from 0 to ``highest``."""
    return Reads(partial(values.number, highest=highest))


def option(metavar: str, text: str, **others: Any) -> Any:
    """An option without a default, or with one that its help states."""
    return typer.Option(metavar=metavar, help=text, show_default=False, **others)


# What is read
Source = Annotated[str, typer.Argument(metavar="SOURCE", help=f"The data: {SOURCES}.", show_default=False)]
ModelFolder = Annotated[
    str, typer.Argument(metavar="MODEL", help="A folder that `crosshead fit` wrote.", show_default=False)
]
Target = Annotated[str | None, option("COLUMN", "The column (table) or array (npz) that holds the labels.")]
Ignore = Annotated[tuple[str, ...], option("COLUMN", "A column of a table that is no feature; may be repeated.")]
TestRows = Annotated[
    bool, typer.Option("--test-rows", help="Take the test rows that SOURCE brings along (npz with Xt, IDX).")
]
PixelSize = Annotated[
    tuple[int, int] | None, option("WxH", "Resize images to this many pixels."), Reads(values.image_size)
]

# What is minimised
Loss = Annotated[
    str, typer.Option(metavar="NAME", help=f"What a wrong score costs: {', '.join(LOSSES)}."), one_of(LOSSES)
]
LossParameters = Annotated[
    dict[str, float] | None,
    option("NAME=NUMBER", "A parameter of the loss: margin (hinges), label_smoothing (softmax); may be repeated."),
    Reads(partial(values.named_numbers, like="a parameter and a number, such as margin=2"), list[str]),
]
Alpha = Annotated[
    float,
    typer.Option(metavar="NUMBER", help="Strength of the penalty on the weights; also as 1/60000."),
    a_number(),
]
L1Ratio = Annotated[
    float,
    typer.Option(metavar="NUMBER", help="Share of L1 in the penalty: 0 is L2, 1 is L1."),
    a_number(highest=1.0),
]
Scale = Annotated[
    str,
    typer.Option(metavar="|".join(SCALINGS), help="Scale the features, as in `crosshead fit`."),
    one_of(SCALINGS),
]
ClassWeight = Annotated[
    str | None,
    option("balanced", "Weight rows so that all classes count the same in training."),
    one_of(CLASS_WEIGHTS),
]
NoIntercept = Annotated[bool, typer.Option("--no-intercept", help="Train without a bias.")]

# When to stop
Tol = Annotated[
    float,
    typer.Option(metavar="NUMBER", help="Relative duality gap at which the fit is certified."),
    a_number(),
]
MaxIter = Annotated[int, typer.Option(min=1, metavar="N", help="Most iterations.")]
MaxTime = Annotated[float | None, option("SECONDS", "Longest training time."), a_number()]

# What computes
Seed = Annotated[
    int,
    typer.Option(metavar="N", help="Seed of everything random."),
    Reads(partial(values.whole, highest=values.HIGHEST_SEED), int),
]
Precision = Annotated[
    str,
    typer.Option(metavar="|".join(PRECISIONS), help="auto: first passes in bfloat16 where that is faster."),
    one_of(PRECISIONS),
]
Engine = Annotated[str, typer.Option(metavar="|".join(ENGINES), help="What computes the passes."), one_of(ENGINES)]
Threads = Annotated[int | None, option("N", "Threads. [default: all CPUs it may use]", min=1)]

# What is measured and shown
Level = Annotated[float, typer.Option(metavar="NUMBER", help="Level of the bootstrap intervals."), Reads(values.share)]
Resamples = Annotated[int, typer.Option(min=20, metavar="N", help="Resamples of the bootstrap.")]
Bins = Annotated[int, typer.Option(min=1, metavar="N", help="Bins of the calibration errors.")]
SpreadsheetSafe = Annotated[
    bool,
    typer.Option(
        "--spreadsheet-safe/--no-spreadsheet-safe",
        help="In CSV, put an apostrophe before text that a spreadsheet would run as a formula.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
