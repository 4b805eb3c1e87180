"""`crosshead path`: many alphas at the price of a few, and the one that does best on rows held out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import typer

from crosshead.cli import options
from crosshead.cli.command import Reads, Says, command
from crosshead.cli.errors import UsageError
from crosshead.cli.options import values
from crosshead.cli.options.images import SkipBroken

PICTURES = (".svg", ".png")
MOST_ALPHAS = 10_000


def parse_alphas(option: str, text: str) -> int | list[float]:
    """How many alphas, or the alphas of FROM:TO:N, log-spaced.

    Examples
    --------
    >>> parse_alphas("--alphas", "45"), parse_alphas("--alphas", "1:1/100:3")
    (45, [1.0, 0.1, 0.01])
    """
    parts = text.split(":")
    if not parts[-1].strip().isdigit() or len(parts) not in (1, 3):
        raise UsageError(f"{option} {text}: give how many, such as 45, or a range, such as 1:1e-6:45")
    count = int(parts[-1])
    if not 1 <= count <= MOST_ALPHAS:
        raise UsageError(f"{option} {text}: there must be between 1 and {MOST_ALPHAS} of them")
    if len(parts) == 1:
        return count
    ends = [values.number(option, part) for part in parts[:2]]
    if min(ends) <= 0:
        raise UsageError(f"{option} {text}: both ends must be above 0")
    first, last = (math.log10(end) for end in ends)
    return [10 ** (first + (last - first) * step / max(1, count - 1)) for step in range(count)]


def _picture(option: str, name: str) -> str:
    if not name.lower().endswith(PICTURES):
        raise UsageError(f"{option} {name}: end the name in one of {', '.join(PICTURES)}")
    return name


@dataclass(frozen=True, kw_only=True)
class PathOptions:
    """The options of one `crosshead path`, checked. ``alphas`` is how many, or the alphas themselves."""

    source: options.Source
    target: options.Target = None
    ignore: options.Ignore = ()
    loss: options.Loss = "softmax"
    loss_parameter: options.LossParameters = None
    l1_ratio: options.L1Ratio = 0.0
    alphas: Annotated[
        int | list[float],
        typer.Option(
            metavar="N|FROM:TO:N",
            help="How many alphas, log-spaced: in a range that the data sets, or from one to another.",
        ),
        Reads(parse_alphas),
    ] = 45
    cv: Annotated[
        int, typer.Option(min=0, metavar="K", help="Folds of the cross-validation that chooses alpha; 0 for none.")
    ] = 5
    one_standard_error: Annotated[
        bool,
        typer.Option("--one-standard-error", help="Choose the largest alpha within one standard error of the best."),
    ] = False
    scale: options.Scale = "none"
    size: options.PixelSize = None
    skip_broken: SkipBroken = False
    class_weight: options.ClassWeight = None
    no_intercept: options.NoIntercept = False
    tol: Annotated[options.Tol, Says("Relative duality gap at which each fit is certified.")] = 1e-4
    max_iter: Annotated[options.MaxIter, Says("Most iterations of each fit.")] = 1000
    max_time: Annotated[options.MaxTime, Says("Longest time for all fits.")] = None
    seed: Annotated[options.Seed, Says("Shuffles the rows before they are folded.")] = 0
    engine: options.Engine = "auto"
    threads: options.Threads = None
    output: Annotated[str | None, options.option("DIR", "Save the model of the chosen alpha here.")] = None
    picture: Annotated[
        str | None,
        options.option("FILE.svg|FILE.png", "Draw cross-entropy, error and the number of coefficients against alpha."),
        Reads(_picture),
    ] = None
    as_json: options.AsJson = False

    def __post_init__(self) -> None:
        if self.cv == 1:
            raise UsageError("--cv 1: give at least 2 folds, or 0 for no cross-validation")
        if self.cv == 0 and (self.output is not None or self.one_standard_error):
            option = "--output" if self.output is not None else "--one-standard-error"
            raise UsageError(f"{option} needs a chosen alpha: leave out --cv 0")

    @property
    def intercept(self) -> bool:
        """Whether there is a bias."""
        return not self.no_intercept


@command
def path(chosen: PathOptions) -> int:
    """Train at many strengths of the penalty, from strong to weak, and choose one by cross-validation.

    Each fit goes on from the last, so that all together cost about as much as a few; each is certified.
    """
    from crosshead.cli.commands.path.run import run

    return run(chosen)
