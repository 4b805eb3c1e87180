"""Class templates: each row of W as an image, for features that are pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crosshead.escaping import for_terminal
from crosshead.report.figures import BLUE, VERMILLION, panels, shortened

Float = NDArray[np.float64]

MAX_CLASSES = 30
LONGEST_SIDE = 48
"""Larger images are averaged to this many pixels, so that a page of many classes remains small."""


@dataclass(eq=False)
class ClassTemplateDisplay:
    """Rows of W as images of ``shape`` (height, width) or (height, width, 3), for classes with ``labels``.

    ``weight`` (C, H·W) is signed: blue increases the score of the class, vermillion decreases it, and the background
    shows weights of 0; all classes have the same scale. Weights of coloured pixels are shown as colours around grey.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from crosshead import LinearClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> model = LinearClassifier(alpha=1e-2).fit(X / 16, y)
    >>> display = ClassTemplateDisplay.from_estimator(model, shape=(8, 8))
    >>> len(display.axes_)
    10
    """

    weight: Float
    labels: list[str]
    shape: tuple[int, ...]
    ax_: Any = field(init=False, default=None, repr=False)
    axes_: list[Any] = field(init=False, default_factory=list, repr=False)
    figure_: Any = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        self.weight = np.asarray(self.weight, dtype=np.float64)
        self.shape = tuple(int(side) for side in self.shape)
        coloured = len(self.shape) == 3 and self.shape[2] == 3
        if len(self.shape) == 3 and self.shape[2] == 1:
            self.shape = self.shape[:2]
        elif len(self.shape) != 2 and not coloured:
            raise ValueError(f"shape {self.shape}: give (height, width) or (height, width, 3)")
        if self.weight.ndim != 2 or self.weight.shape[1] != int(np.prod(self.shape)):
            raise ValueError(
                f"weights of shape {self.weight.shape} are not rows of {' × '.join(map(str, self.shape))} pixels"
            )

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, shape: Sequence[int], classes: ArrayLike | None = None, ax: Any = None
    ) -> ClassTemplateDisplay:
        """Draw the templates of a fitted linear classifier; ``classes`` selects labels, at most 30 are drawn."""
        return cls.from_weights(estimator.coef_, estimator.classes_, shape=shape, classes=classes, ax=ax)

    @classmethod
    def from_weights(
        cls,
        weight: ArrayLike,
        labels: ArrayLike,
        *,
        shape: Sequence[int],
        classes: ArrayLike | None = None,
        ax: Any = None,
    ) -> ClassTemplateDisplay:
        """Draw the templates of weights (C, D); a single row, for two classes, is the template of the second."""
        weight, names = np.asarray(weight, dtype=np.float64), np.asarray(labels)
        if len(weight) == 1 and len(names) == 2:
            weight = np.vstack([-weight, weight])
        if classes is not None:
            chosen = [int(np.flatnonzero(names == label)[0]) for label in np.asarray(classes)]
            weight, names = weight[chosen], names[chosen]
        return cls(weight, [str(label) for label in names.tolist()], tuple(shape)).plot(ax)

    def plot(self, ax: Any = None, *, columns: int | None = None) -> ClassTemplateDisplay:
        """Draw one image per class, in rows of ``columns``."""
        shown = min(len(self.labels), MAX_CLASSES)
        across = columns or min(shown, 5)
        down = -(-shown // across)
        size = (1.05 * across, 1.25 * down * max(0.6, min(1.8, self.shape[0] / self.shape[1])))
        self.figure_, axes = panels(ax, down, across, size=size)
        self.axes_ = axes[:shown]
        self.ax_ = axes[0]
        for axis in axes:
            axis.set_axis_off()
        for axis, picture, label in zip(self.axes_, self.images(shown), self.labels, strict=False):
            axis.imshow(picture, interpolation="none")
            axis.set_title(shortened(label), loc="center", fontsize=8.5)
        return self

    def images(self, count: int) -> list[NDArray[np.uint8]]:
        """The first ``count`` templates as RGBA images (H, W, 4), averaged if a side is too long."""
        images = [_averaged(row.reshape(self.shape)) for row in self.weight[:count]]
        scale = max((float(np.abs(image).max()) for image in images), default=0.0) or 1.0
        return [_coloured(image / scale) if image.ndim == 3 else _signed(image / scale) for image in images]

    def describe(self) -> str:
        """Describe the figure in text."""
        shown = min(len(self.labels), MAX_CLASSES)
        height, width = self.shape[:2]
        share = float(np.mean(self.weight[:shown] == 0))
        text = f"The weights of {shown} of {len(self.labels)} classes as images of {height} × {width} pixels"
        text += (
            ": blue where a bright pixel raises the score of the class, orange where it lowers it."
            if len(self.shape) == 2
            else ", each colour about mid grey."
        )
        spread = np.abs(self.weight[:shown]).sum(axis=1)
        strongest, weakest = int(np.argmax(spread)), int(np.argmin(spread))
        text += for_terminal(f" Strongest is {self.labels[strongest]}, weakest {self.labels[weakest]}")
        return f"{text}; {share:.0%} of the weights are zero." if share >= 0.005 else f"{text}."


def _averaged(image: Float) -> Float:
    """Reduce an image to a longer side of at most `LONGEST_SIDE`, by averages over boxes."""
    longest = max(image.shape[:2])
    if longest <= LONGEST_SIDE:
        return image
    from PIL import Image

    height, width = (max(1, round(side * LONGEST_SIDE / longest)) for side in image.shape[:2])
    planes = image.reshape(*image.shape[:2], -1).astype(np.float32)
    small = [
        np.asarray(Image.fromarray(planes[..., plane]).resize((width, height), Image.Resampling.BOX))
        for plane in range(planes.shape[2])
    ]
    return np.stack(small, axis=-1).reshape(height, width, *image.shape[2:]).astype(np.float64)


def _signed(image: Float) -> NDArray[np.uint8]:
    from matplotlib.colors import to_rgb

    picture = np.empty((*image.shape, 4))
    picture[..., :3] = np.where(image[..., None] >= 0, to_rgb(BLUE), to_rgb(VERMILLION))
    picture[..., 3] = np.clip(np.abs(image), 0, 1)
    return np.round(255 * picture).astype(np.uint8)


def _coloured(image: Float) -> NDArray[np.uint8]:
    opaque = np.ones((*image.shape[:2], 1))
    return np.round(255 * np.concatenate([np.clip(0.5 + image / 2, 0, 1), opaque], axis=-1)).astype(np.uint8)
