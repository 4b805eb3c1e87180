"""`crosshead fit`: train a model, and say how close to the optimum it is."""

from __future__ import annotations

from crosshead.cli.command import command
from crosshead.cli.fit_options import FitOptions


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
    from crosshead.cli.fitting import run

    return run(chosen)
