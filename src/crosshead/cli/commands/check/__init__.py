"""`crosshead check`: does learning work on these data, before any long run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from crosshead.cli import options
from crosshead.cli.command import Says, command
from crosshead.cli.options.images import SkipBroken


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """The options of one `crosshead check`, checked."""

    source: options.Source
    target: options.Target = None
    ignore: options.Ignore = ()
    loss: options.Loss = "softmax"
    loss_parameter: options.LossParameters = None
    alpha: options.Alpha = 1e-4
    l1_ratio: options.L1Ratio = 0.0
    scale: Annotated[options.Scale, Says("Scale the features first, as in `crosshead fit`.")] = "none"
    size: options.PixelSize = None
    skip_broken: SkipBroken = False
    no_intercept: options.NoIntercept = False
    seed: Annotated[options.Seed, Says("Chooses weights, directions and rows.")] = 0
    engine: options.Engine = "auto"
    threads: options.Threads = None
    as_json: options.AsJson = False

    @property
    def intercept(self) -> bool:
        """Whether there is a bias."""
        return not self.no_intercept


@command
def check(chosen: CheckOptions) -> int:
    """Check SOURCE and the chosen loss before a long training.

    The first loss against its known value, the gradient against finite differences, overfitting a few rows, and
    the usual troubles of data. Each check says what it means when it fails. Exit code 1 where one fails; warnings
    alone leave it at 0.
    """
    from crosshead.cli.commands.check.run import run

    return run(chosen)
