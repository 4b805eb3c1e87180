"""A picture of a regularisation path: cross-entropy, error and the number of coefficients against alpha."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

FORMATS = (".svg", ".png")
TRAIN, HELD_OUT, CHOSEN, COUNT = "#7a7a7a", "#1f5fa8", "#b5532a", "#2e7d4f"


@dataclass(frozen=True)
class Curve:
    """One quantity against alpha: on the training rows (A,), and on held-out rows with its standard error, if any."""

    title: str
    train: Float
    held_out: Float | None = None
    error: Float | None = None


@dataclass(frozen=True)
class PathPicture:
    """What is drawn: curves over the same alphas (A,), non-zero coefficients (A,), the chosen alpha if any."""

    title: str
    alphas: Float
    curves: Sequence[Curve]
    nonzero: NDArray[Any]
    coefficients: int
    chosen: float | None = None


def require_matplotlib() -> None:
    """ModuleNotFoundError that says how to install matplotlib, where it is missing."""
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "a picture needs matplotlib, which is not installed: pip install 'crosshead[plot]'"
        ) from error


def draw_path(picture: PathPicture, file: str | Path) -> None:
    """Draw into an .svg or .png file, which is replaced at once when the picture is complete.

    Raises ValueError for another kind of file, ModuleNotFoundError without matplotlib.
    """
    path = Path(file)
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"{path}: a picture is written as one of {', '.join(FORMATS)}")
    require_matplotlib()
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = len(picture.curves) + 1
    figure = Figure(figsize=(7.2, 2.1 * rows + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, 1, sharex=True, height_ratios=[3.0] * (rows - 1) + [2.0])
    for axis, curve in zip(axes, picture.curves, strict=False):
        _draw_curve(axis, picture.alphas, curve)
    _draw_count(axes[-1], picture)
    for axis in axes:
        _dress(axis, picture)
    axes[0].set_title(picture.title, loc="left", fontsize=11)
    axes[-1].set_xscale("log")
    axes[-1].invert_xaxis()
    axes[-1].set_xlabel("alpha (strong to weak regularisation)")
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with rc_context({"svg.hashsalt": "crosshead", "svg.fonttype": "none"}):
            kind = path.suffix.lower()[1:]
            figure.savefig(partial, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _draw_curve(axis: Any, alphas: Float, curve: Curve) -> None:
    axis.plot(alphas, curve.train, color=TRAIN, linewidth=1.2, linestyle="--", label="train")
    if curve.held_out is not None:
        axis.plot(alphas, curve.held_out, color=HELD_OUT, linewidth=1.6, marker=".", label="held out")
        if curve.error is not None:
            low, high = curve.held_out - curve.error, curve.held_out + curve.error
            axis.fill_between(alphas, low, high, color=HELD_OUT, alpha=0.15, linewidth=0, label="± standard error")
    axis.set_ylabel(curve.title)
    axis.set_ylim(bottom=0)


def _draw_count(axis: Any, picture: PathPicture) -> None:
    axis.step(picture.alphas, picture.nonzero, where="mid", color=COUNT, linewidth=1.4)
    axis.axhline(picture.coefficients, color=COUNT, linewidth=0.8, linestyle=":")
    axis.set_ylim(0, 1.08 * picture.coefficients)
    axis.set_ylabel(f"non-zero\n(of {picture.coefficients})")


def _dress(axis: Any, picture: PathPicture) -> None:
    if picture.chosen is not None:
        axis.axvline(picture.chosen, color=CHOSEN, linewidth=1.2, label=f"chosen, alpha {picture.chosen:.3g}")
    axis.grid(True, color="#e4e4e4", linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    if axis.get_subplotspec().is_first_row():
        axis.legend(frameon=False, fontsize=9, loc="upper right")
