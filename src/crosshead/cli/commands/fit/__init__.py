"""`crosshead fit`: train a model, and say how close to the optimum it is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated

import typer

from crosshead.cli import options
from crosshead.cli.command import Says, command
from crosshead.cli.options import images as image_options
from crosshead.cli.options import network as network_options
from crosshead.cli.options import values

ALPHA = 1e-4


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """The options of one `crosshead fit`, checked.

    ``alpha`` is None where validation chooses it. ``network`` is what ``network_arguments`` say, None where no network
    is trained; ``test_fraction`` what ``test`` says, None where it names a source.
    """

    source: options.Source
    target: options.Target = None
    ignore: options.Ignore = ()
    loss: options.Loss = "softmax"
    loss_parameter: options.LossParameters = None
    alpha: Annotated[
        float | None,
        options.option(
            "NUMBER",
            "Strength of the penalty on the weights; also as 1/60000. [default: 1e-4; with --backbone cnn the one "
            "with the lowest validation loss]",
        ),
        options.a_number(),
    ] = None
    l1_ratio: options.L1Ratio = 0.0
    scale: Annotated[
        options.Scale,
        Says(
            "Scale the features: standard makes each column mean 0 and deviation 1; maxabs divides all "
            "by the largest absolute value (pixels 0…255 become 0…1)."
        ),
    ] = "none"
    images: image_options.ImageOptions
    cache: image_options.Cache = None
    test: Annotated[
        str | None,
        options.option(
            "SOURCE|FRACTION",
            "Rows to measure on, never trained on: another source, or a fraction of the rows, held out "
            "by class. [default: the source's own test rows, if any]",
        ),
    ] = None
    class_weight: options.ClassWeight = None
    no_intercept: options.NoIntercept = False
    tol: options.Tol = 1e-4
    max_iter: options.MaxIter = 1000
    max_time: options.MaxTime = None
    seed: Annotated[options.Seed, Says("Chooses the held-out rows.")] = 0
    engine: options.Engine = "auto"
    precision: options.Precision = "auto"
    threads: options.Threads = None
    output: Annotated[
        str | None,
        options.option(
            "DIR",
            "Where to save the model; one that is there is replaced. [default: <SOURCE's name>-model]",
        ),
    ] = None
    report: Annotated[
        bool, typer.Option("--report", help="Also write a page about the model: MODEL's folder, then -report.html.")
    ] = False
    report_output: Annotated[str | None, options.option("FILE.html", "Write that page here.")] = None
    network_arguments: network_options.NetworkArguments
    as_json: options.AsJson = False
    network: network_options.NetworkOptions | None = field(init=False)
    test_fraction: float | None = field(init=False)

    def __post_init__(self) -> None:
        images = replace(self.images, cache=self.cache)
        network = self.network_arguments.chosen(images.backbone)
        images.check()
        if network is not None:
            network_options.check_network(network, images, self.ignore, self.loss)
        settled = {
            "images": images,
            "network": network,
            "alpha": ALPHA if self.alpha is None and network is None else self.alpha,
            "test_fraction": None if self.test is None else values.held_out_fraction(self.test),
            "report": self.report or self.report_output is not None,
        }
        for name, value in settled.items():
            object.__setattr__(self, name, value)

    @property
    def intercept(self) -> bool:
        """Whether there is a bias."""
        return not self.no_intercept

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width that images are resized to."""
        return self.images.size


@command
def fit(chosen: FitOptions) -> int:
    """Train a classifier on SOURCE and save it.

    The result says how far from the optimum the training objective can be at most: the relative duality gap.
    Ctrl-C ends the training early and saves the best weights so far. With --backbone the features are those that a
    network makes of SOURCE's images, as by `crosshead embed`; they are kept for the next time, and the model remembers
    the network, so that it takes images from then on.

    With --backbone cnn a convolutional network is trained on the images first; then its last layer is solved to the
    certified optimum on the network's features. Test loss and error are shown for the last layer before and after.
    """
    from crosshead.cli.commands.fit.run import run

    return run(chosen)
