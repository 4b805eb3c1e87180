"""Validate the arguments of `explain`: losses by name, targets in all their forms, weights, single samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import e
from typing import Any

import numpy as np

from crosshead.explain.loss_steps import LossSteps
from crosshead.explain.losses.elementwise import BINARY, SQUARED_ERROR
from crosshead.explain.losses.hinges import CRAMMER_SINGER, HINGE, SQUARED_HINGE
from crosshead.explain.losses.softmax import SOFTMAX
from crosshead.explain.losses.softmax_squared_error import SOFTMAX_SQUARED_ERROR, SoftmaxSquaredError
from crosshead.explain.sample import Sample, class_names
from crosshead.losses import get_loss
from crosshead.losses._samples import nats_to
from crosshead.losses.protocol import Float

LOSS_STEPS: Mapping[str, LossSteps] = {
    "softmax": SOFTMAX,
    "binary": BINARY,
    "hinge": HINGE,
    "squared_hinge": SQUARED_HINGE,
    "crammer_singer": CRAMMER_SINGER,
    "squared_error": SQUARED_ERROR,
    "mse": SOFTMAX_SQUARED_ERROR,
}
"""The steps of each loss of scores: the names of `crosshead.losses.LOSSES`, and "mse", ‖softmax(z) − y‖²."""

ALIASES = {"cross_entropy": "softmax", "nll": "softmax", "bce": "binary", "brier": "mse"}

LARGEST = 1e150  # its square is still finite


def make_sample(
    scores: Float, target: Any, loss: str, classes: Sequence[Any] | None, base: float, options: Mapping[str, Any]
) -> Sample:
    """Validate a sample; ValueError says what is wrong."""
    names = class_names(classes, len(scores))
    made = _loss_of(loss, options)
    nats_to(base)
    if base != e and not LOSS_STEPS[made.name].unit:
        raise ValueError(f"base is for losses that are logarithms, and {made.name} is not one")
    if target is None:
        return Sample(scores, -1, None, names, made, base)
    index, row = target_of(target, names, len(scores), none_allowed=made.name == "binary")
    if row is None and index < 0:
        row = np.zeros(len(scores))
    return Sample(scores, index, row, names, made, base)


def target_of(target: Any, names: Sequence[str], count: int, *, none_allowed: bool = False) -> tuple[int, Float | None]:
    """Return the index of the true class and None, or −1 and the target as a row (C,); ValueError if it is neither."""
    if isinstance(target, str):
        return _named(target, names), None
    values = np.asarray(target)
    if values.ndim == 1:
        if len(values) != count:
            raise ValueError(f"the target has {len(values)} numbers for {count} classes")
        row = values.astype(np.float64)
        if not np.isfinite(row).all():
            raise ValueError("the target contains NaN or an infinite number")
        return -1, row
    if values.ndim != 0 or values.dtype.kind not in "iu":
        raise ValueError(f"the target must be the index or name of a class, or one number per class, not {target!r}")
    lowest = -1 if none_allowed else 0
    if not lowest <= int(values) < count:
        raise ValueError(f"target {int(values)} is outside {lowest}..{count - 1}")
    return int(values), None


def as_weight(value: Any) -> float:
    """Convert a weight to a float; ValueError if it is negative or not finite."""
    weight = float(value)
    if not (np.isfinite(weight) and weight >= 0):
        raise ValueError(f"weights must be finite and not negative, not {value}")
    return weight


def weights_of(
    sample: Sample, sample_weight: float, class_weight: Mapping[Any, float] | None, labels: Sequence[Any] | None
) -> dict[str, float]:
    """The factors of the loss by name: the sample weight and, if given, the class weight."""
    weights = {"sample weight": as_weight(sample_weight)}
    if class_weight is None:
        return weights
    if sample.target < 0:
        raise ValueError("class_weight needs one true class")
    own: Any = sample.target if labels is None else list(labels)[sample.target]
    known = list(range(len(sample.classes))) if labels is None else list(labels)
    factors = {class_of(key, known): as_weight(factor) for key, factor in class_weight.items()}
    weights[f"weight of {sample.classes[sample.target]}"] = factors.get(class_of(own, known), 1.0)
    return weights


def _named(name: str, names: Sequence[str]) -> int:
    for spelling in (name, f"class {name}"):
        if spelling in names:
            return list(names).index(spelling)
    raise ValueError(f"no class {name!r}; the classes are {_listed(names)}")


def class_of(label: Any, labels: Sequence[Any]) -> int:
    """The position of a label; labels are compared as text, so that 1 and "1" are the same."""
    known = [str(each) for each in labels]
    if str(label) not in known:
        raise ValueError(f"no class {str(label)!r}; the classes are {_listed(known)}")
    return known.index(str(label))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _loss_of(name: str, options: Mapping[str, Any]) -> Any:
    name = ALIASES.get(name, name)
    if name not in LOSS_STEPS:
        raise ValueError(f"unknown loss {name!r}; choose one of {', '.join(LOSS_STEPS)}")
    if options.get("smoothing"):
        raise ValueError("smoothing is a solver's approximation; explain shows the exact loss: leave it out")
    if name == SoftmaxSquaredError.name:
        if options:
            raise ValueError(f"loss {name!r} has no parameter {next(iter(options))!r}; it takes no parameters")
        return SoftmaxSquaredError()
    return get_loss(name, **options)


def one_sample(name: str, values: Any) -> Float:
    """Convert to a row of finite numbers in float64; ValueError if it is not one."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array):
        raise ValueError(f"{name} of one sample must be a row of numbers, not of shape {array.shape}")
    if not np.isfinite(array).all():
        place = int(np.flatnonzero(~np.isfinite(array))[0])
        raise ValueError(f"{name} must be finite, but number {place + 1} of {len(array)} is {array[place]}")
    largest = float(np.abs(array).max())
    if largest > LARGEST:
        raise ValueError(f"{name} reach {largest:.1e}, and their squares overflow float64; rescale them")
    return array
