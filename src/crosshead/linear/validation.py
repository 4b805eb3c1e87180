"""Validate the arguments of `fit`: classes, targets and weights in the form that engines take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from scipy import sparse

from crosshead.engines import TrainingData
from crosshead.losses.protocol import Array, Float, Loss

MIN_TOTAL = float(np.finfo(np.float64).tiny)  # the inverse of a smaller sum of weights overflows
LARGEST = {4: 1e15, 8: 1e150}  # by itemsize
GLANCE = 256  # rows
ROUNDED_SUM = 1e-6  # how far from one the sum of given probabilities may be


@dataclass(frozen=True)
class Prepared:
    """Training data with the labels of the classes, in the order of the score columns."""

    data: TrainingData
    classes: Array


def prepare(
    features: Any,
    target: Array,
    sample_weight: Float | None,
    class_weight: Mapping[Any, float] | str | None,
) -> Prepared:
    """Prepare class indices or probabilities, and the weight of each row.

    ``features`` are checked: float32 or float64, dense or CSR with each column once in a row.
    ``target`` (N,) are labels of any type; (N, C) are probabilities (or several labels a row, for the binary loss) of
    classes 0 … C − 1. A class whose rows all weigh nothing is left out, as if its rows were not there.

    Raises ValueError for fewer than two classes, negative weights, a class weight of an unknown label, or features
    whose squares overflow.
    """
    _check_overflow(features)
    if target.ndim == 2:
        return _prepare_probabilities(features, target, sample_weight, class_weight)
    classes, indices = np.unique(target, return_inverse=True)
    _require_classes(len(classes))
    weight = _combined(indices, classes, sample_weight, class_weight)
    if weight is not None:
        present = np.bincount(indices, weights=weight, minlength=len(classes)) > 0
        if not present.all():
            return _without_absent(features, indices, classes, weight, present)
    data = TrainingData(features, indices.astype(np.int32), len(classes), weight)
    return Prepared(data, classes)


def _check_overflow(features: Any) -> None:
    """Raise ValueError if squares of features overflow, judging by a sample of rows."""
    some = features[:: max(1, features.shape[0] // GLANCE)]
    values = some.data if sparse.issparse(some) else some
    largest = float(np.max(np.abs(values), initial=0.0))
    if largest > LARGEST[values.dtype.itemsize]:
        raise ValueError(
            f"features reach {largest:.1e}, and their squares overflow {values.dtype}; divide them all by one number "
            "first (on the command line --scale maxabs)"
        )


def normalised(target: Array, loss: Loss) -> Array:
    """Normalise rows of probabilities (N, C) to sum exactly to one, if the loss takes them for distributions.

    With a sum of 1.000001 the loss is unbounded below: all biases can grow together. Rows that are further from one are
    left unchanged; the loss rejects them with their row number.
    """
    if np.ndim(target) != 2 or not (loss.accepts_probabilities and loss.shift_invariant):
        return target
    rows = np.asarray(target, dtype=np.float64)
    sums = rows.sum(axis=1, keepdims=True)
    return rows / sums if (np.abs(sums - 1) <= ROUNDED_SUM).all() else target


def _without_absent(features: Any, indices: Array, classes: Array, weight: Float, present: Array) -> Prepared:
    _require_classes(int(present.sum()))
    # Rows of absent classes have weight 0; their class does not matter.
    renamed = np.maximum(np.cumsum(present) - 1, 0)[indices].astype(np.int32)
    return Prepared(TrainingData(features, renamed, int(present.sum()), weight), classes[present])


def _prepare_probabilities(features: Any, target: Array, sample_weight: Float | None, class_weight: Any) -> Prepared:
    if class_weight is not None:
        raise ValueError("class_weight needs class labels; with probabilities as target, weight the rows instead")
    classes = np.arange(target.shape[1])
    _require_classes(len(classes))
    weight = None if sample_weight is None else _checked(sample_weight)
    data = TrainingData(features, np.ascontiguousarray(target, dtype=np.float64), len(classes), weight)
    return Prepared(data, classes)


def _require_classes(count: int) -> None:
    if count < 2:
        raise ValueError(
            f"a classifier needs at least 2 classes in the training data, but there is {count} class: "
            "add rows of another class"
        )


def _checked(sample_weight: Float) -> Float:
    if (sample_weight < 0).any():
        row = int(np.argmin(sample_weight))
        raise ValueError(f"sample_weight must not be negative, but row {row} has {sample_weight[row]}")
    if not (sample_weight > 0).any():
        raise ValueError("sample_weight is zero for every row")
    return _summable(sample_weight)


def _summable(weight: Float) -> Float:
    """Check that the sum of the weights can be divided by."""
    with np.errstate(over="ignore"):
        total = float(weight.sum())
    if not MIN_TOTAL <= total < np.inf:
        raise ValueError(
            f"the weights of the rows add up to {total:g}; multiply them all by one number, to add up to N"
        )
    return weight


def _combined(indices: Array, classes: Array, sample_weight: Float | None, class_weight: Any) -> Float | None:
    if sample_weight is not None:
        sample_weight = _checked(sample_weight)
    if class_weight is None:
        return sample_weight
    own = np.ones(len(indices)) if sample_weight is None else sample_weight
    with np.errstate(over="ignore"):
        combined = np.asarray(own * _class_weights(indices, classes, own, class_weight)[indices])
    return _summable(combined) if combined.any() else combined


def _class_weights(indices: Array, classes: Array, own: Float, class_weight: Any) -> Float:
    """The weight of each class; with "balanced", all classes have the same total."""
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ValueError(f'class_weight must be None, "balanced" or a dict, not {class_weight!r}')
        totals = np.bincount(indices, weights=own, minlength=len(classes))
        present = totals > 0
        return np.where(present, totals.sum() / (present.sum() * np.where(present, totals, 1.0)), 0.0)
    if not isinstance(class_weight, Mapping):
        raise ValueError(f'class_weight must be None, "balanced" or a dict, not {class_weight!r}')
    known = set(classes.tolist())
    unknown = [label for label in class_weight if label not in known]
    if unknown:
        raise ValueError(f"class_weight names the label {unknown[0]!r}, which is not in the training data")
    given = [class_weight.get(label, 1.0) for label in classes.tolist()]
    if not all(isinstance(weight, Real) for weight in given):
        raise ValueError(f"class weights must be numbers, not {next(w for w in given if not isinstance(w, Real))!r}")
    weights = np.array([float(weight) for weight in given])
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ValueError("class weights must be finite and not negative")
    return weights
