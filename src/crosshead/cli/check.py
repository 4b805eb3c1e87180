"""`crosshead check`: does learning work on these data, before any long run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from crosshead.cli import options


@dataclass(frozen=True)
class CheckOptions:
    """The options of one `crosshead check`, checked."""

    source: str
    target: str | None
    ignore: tuple[str, ...]
    loss: str
    alpha: float
    l1_ratio: float
    scale: str
    size: tuple[int, int] | None
    intercept: bool
    seed: int
    threads: int | None
    engine: str
    as_json: bool


def check(
    source: options.Source,
    target: options.Target = None,
    ignore: options.Ignore = None,
    loss: Annotated[
        str, typer.Option(metavar="NAME", help=f"What a wrong score costs: {', '.join(options.LOSSES)}.")
    ] = "softmax",
    alpha: Annotated[
        str, typer.Option(metavar="NUMBER", help="Strength of the penalty on the weights; also as 1/60000.")
    ] = "1e-4",
    l1_ratio: Annotated[
        str, typer.Option(metavar="NUMBER", help="Share of L1 in the penalty: 0 is L2, 1 is L1.")
    ] = "0",
    scale: Annotated[
        str, typer.Option(metavar="|".join(options.SCALINGS), help="Scale the features first, as in crosshead fit.")
    ] = "none",
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="Resize images to this many pixels.", show_default=False)
    ] = None,
    no_intercept: Annotated[bool, typer.Option("--no-intercept", help="Train without a bias.")] = False,
    seed: Annotated[int, typer.Option(metavar="N", help="Chooses weights, directions and rows.")] = 0,
    engine: options.Engine = "auto",
    threads: options.Threads = None,
    as_json: options.AsJson = False,
) -> int:
    """Check SOURCE and the chosen loss before a long training.

    The first loss against what ignorance costs, the gradient against finite differences, a few rows learnt by heart,
    and the usual troubles of data. Each check says what it means when it fails. Exit code 1 where one fails; warnings
    alone leave it at 0.
    """
    chosen = CheckOptions(
        source=source,
        target=target,
        ignore=tuple(ignore or ()),
        loss=options.choice("--loss", loss, options.LOSSES),
        alpha=options.number("--alpha", alpha),
        l1_ratio=options.number("--l1-ratio", l1_ratio, highest=1.0),
        scale=options.choice("--scale", scale, options.SCALINGS),
        size=options.image_size(size),
        intercept=not no_intercept,
        seed=options.whole("--seed", seed, highest=2**32 - 1),
        threads=threads,
        engine=options.choice("--engine", engine, options.ENGINES),
        as_json=as_json,
    )
    from crosshead.cli.checking import run

    return run(chosen)
