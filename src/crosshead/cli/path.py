"""`crosshead path`: many alphas at the price of a few, and the one that does best on rows held out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import typer

from crosshead.cli import options
from crosshead.cli.errors import UsageError

PICTURES = (".svg", ".png")
MOST_ALPHAS = 10_000


@dataclass(frozen=True)
class PathOptions:
    """The options of one `crosshead path`, checked. ``alphas`` is how many, or the alphas themselves."""

    source: str
    target: str | None
    ignore: tuple[str, ...]
    loss: str
    l1_ratio: float
    alphas: int | list[float]
    cv: int
    one_standard_error: bool
    scale: str
    size: tuple[int, int] | None
    class_weight: str | None
    intercept: bool
    tol: float
    max_iter: int
    max_time: float | None
    seed: int
    threads: int | None
    engine: str
    output: str | None
    picture: str | None
    as_json: bool


def path(
    source: options.Source,
    target: options.Target = None,
    ignore: options.Ignore = None,
    loss: Annotated[
        str, typer.Option(metavar="NAME", help=f"What a wrong score costs: {', '.join(options.LOSSES)}.")
    ] = "softmax",
    l1_ratio: Annotated[
        str, typer.Option(metavar="NUMBER", help="Share of L1 in the penalty: 0 is L2, 1 is L1.")
    ] = "0",
    alphas: Annotated[
        str,
        typer.Option(
            metavar="N|FROM:TO:N",
            help="How many alphas, log-spaced: in a range that the data sets, or from one to another.",
        ),
    ] = "45",
    cv: Annotated[
        int, typer.Option(min=0, metavar="K", help="Folds of the cross-validation that chooses alpha; 0 for none.")
    ] = 5,
    one_standard_error: Annotated[
        bool,
        typer.Option("--one-standard-error", help="Choose the largest alpha within one standard error of the best."),
    ] = False,
    scale: Annotated[
        str, typer.Option(metavar="|".join(options.SCALINGS), help="Scale the features, as in `crosshead fit`.")
    ] = "none",
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="Resize images to this many pixels.", show_default=False)
    ] = None,
    class_weight: Annotated[
        str | None,
        typer.Option(
            metavar="balanced",
            help="Weight rows so that all classes count the same in training.",
            show_default=False,
        ),
    ] = None,
    no_intercept: Annotated[bool, typer.Option("--no-intercept", help="Train without a bias.")] = False,
    tol: Annotated[
        str, typer.Option(metavar="NUMBER", help="Relative duality gap at which each fit is certified.")
    ] = "1e-4",
    max_iter: Annotated[int, typer.Option(min=1, metavar="N", help="Most iterations of each fit.")] = 1000,
    max_time: Annotated[
        str | None, typer.Option(metavar="SECONDS", help="Longest time for all fits.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Shuffles the rows before they are folded.")] = 0,
    engine: options.Engine = "auto",
    threads: options.Threads = None,
    output: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Save the model of the chosen alpha here.", show_default=False),
    ] = None,
    picture: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.svg|FILE.png",
            help="Draw cross-entropy, error and the number of coefficients against alpha.",
            show_default=False,
        ),
    ] = None,
    as_json: options.AsJson = False,
) -> int:
    """Train at many strengths of the penalty, from strong to weak, and choose one by cross-validation.

    Each fit goes on from the last, so that all together cost about as much as a few; each is certified.
    """
    if cv == 1:
        raise UsageError("--cv 1: give at least 2 folds, or 0 for no cross-validation")
    if cv == 0 and (output is not None or one_standard_error):
        option = "--output" if output is not None else "--one-standard-error"
        raise UsageError(f"{option} needs a chosen alpha: leave out --cv 0")
    chosen = PathOptions(
        source=source,
        target=target,
        ignore=tuple(ignore or ()),
        loss=options.choice("--loss", loss, options.LOSSES),
        l1_ratio=options.number("--l1-ratio", l1_ratio, highest=1.0),
        alphas=parse_alphas(alphas),
        cv=cv,
        one_standard_error=one_standard_error,
        scale=options.choice("--scale", scale, options.SCALINGS),
        size=options.image_size(size),
        class_weight=None if class_weight is None else options.choice("--class-weight", class_weight, ("balanced",)),
        intercept=not no_intercept,
        tol=options.number("--tol", tol),
        max_iter=max_iter,
        max_time=None if max_time is None else options.number("--max-time", max_time),
        seed=options.whole("--seed", seed, highest=2**32 - 1),
        threads=threads,
        engine=options.choice("--engine", engine, options.ENGINES),
        output=output,
        picture=None if picture is None else _picture(picture),
        as_json=as_json,
    )
    from crosshead.cli.path_run import run

    return run(chosen)


def parse_alphas(text: str) -> int | list[float]:
    """How many alphas, or the alphas of FROM:TO:N, log-spaced.

    Examples
    --------
    >>> parse_alphas("45"), parse_alphas("1:1/100:3")
    (45, [1.0, 0.1, 0.01])
    """
    parts = text.split(":")
    if not parts[-1].strip().isdigit() or len(parts) not in (1, 3):
        raise UsageError(f"--alphas {text}: give how many, such as 45, or a range, such as 1:1e-6:45")
    count = int(parts[-1])
    if not 1 <= count <= MOST_ALPHAS:
        raise UsageError(f"--alphas {text}: there must be between 1 and {MOST_ALPHAS} of them")
    if len(parts) == 1:
        return count
    ends = [options.number("--alphas", part) for part in parts[:2]]
    if min(ends) <= 0:
        raise UsageError(f"--alphas {text}: both ends must be above 0")
    first, last = (math.log10(end) for end in ends)
    return [10 ** (first + (last - first) * step / max(1, count - 1)) for step in range(count)]


def _picture(name: str) -> str:
    if not name.lower().endswith(PICTURES):
        raise UsageError(f"--picture {name}: end the name in one of {', '.join(PICTURES)}")
    return name
