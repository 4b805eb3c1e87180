"""Softmax, cross-entropy and their relatives as plain functions of scores or probabilities.

Everywhere one dimension is one sample and two are (samples, classes); logarithms are natural (nats) unless
``base`` says otherwise (2 for bits, 10 for bans); targets are class indices or rows of probabilities; and
``reduction`` is "mean" or "sum" over samples, or "none" for one number a sample. Probabilities that do not
sum to one, are negative or NaN are refused with a ValueError that names the row, never rescaled.
"""

from __future__ import annotations

from math import e
from typing import Any

import numpy as np

from crosshead.losses import _numerics
from crosshead.losses._samples import (
    Reduction,
    as_fractions,
    as_probabilities,
    as_samples,
    check_sums,
    nats_to,
    reduced,
    target_rows,
)
from crosshead.losses.protocol import Array


def softmax(scores: Any, *, axis: int = -1) -> Array:
    """Probabilities from scores: p_c = exp(z_c) / Σ_k exp(z_k).

    The shape is kept, the classes lie along ``axis``, and float32 stays float32. Adding a number to all
    scores changes nothing; scores of any finite size are fine.

    Examples
    --------
    >>> softmax([1.0, 2.0, 3.0]).round(4)
    array([0.09  , 0.2447, 0.6652])
    """
    return _numerics.softmax(_floating(scores), axis)


def log_softmax(scores: Any, *, axis: int = -1) -> Array:
    """Log-probabilities from scores: z_c − log Σ_k exp(z_k), in nats, finite where softmax underflows.

    Examples
    --------
    >>> log_softmax([0.0, 1000.0])
    array([-1000.,     0.])
    """
    return _numerics.log_softmax(_floating(scores), axis)


def cross_entropy(
    scores: Any,
    target: Any,
    *,
    base: float = e,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
) -> Any:
    """Cross-entropy between targets and softmax(scores): −Σ_c y_c log softmax(z)_c, also the softmax loss.

    Label smoothing ε replaces y by (1 − ε)·y + ε/C first (Szegedy et al., CVPR 2016). Raises ValueError for
    NaN scores, indices outside 0..C−1 and targets that are no probabilities.

    Examples
    --------
    >>> round(cross_entropy([[0.0, 0.0, 0.0, 0.0]], [1]), 4)  # ln 4: nothing is known
    1.3863
    >>> cross_entropy([0.0, 0.0, 0.0, 0.0], 1, base=2)
    2.0
    """
    z = as_samples("scores", scores)
    share = _numerics.unit_interval("label_smoothing", label_smoothing)
    rows = (1 - share) * target_rows(target, scores, z.shape[1]) + share / z.shape[1]
    return reduced(-_expected(rows, _numerics.log_softmax(z)) * nats_to(base), reduction)


def nll(log_probabilities: Any, target: Any, *, base: float = e, reduction: Reduction = "mean") -> Any:
    """Negative log-likelihood −Σ_c y_c log p_c from natural log-probabilities, as `log_softmax` gives.

    Raises ValueError where exp of a row does not sum to one, as for scores that never were normalised.

    Examples
    --------
    >>> round(nll(np.log([0.8, 0.1, 0.1]), 0), 4)
    0.2231
    """
    log_p = as_samples("log-probabilities", log_probabilities)
    with np.errstate(over="ignore"):
        check_sums("exp(log-probabilities)", np.exp(log_p).sum(axis=1, dtype=np.float64), log_p)
    rows = target_rows(target, log_probabilities, log_p.shape[1])
    return reduced(-_expected(rows, log_p) * nats_to(base), reduction)


def entropy(p: Any, *, base: float = e, reduction: Reduction = "mean") -> Any:
    """Entropy −Σ_c p_c log p_c of a distribution, between 0 (certain) and log C (uniform).

    Examples
    --------
    >>> round(entropy([0.25, 0.25, 0.5], base=2), 4)
    1.5
    """
    p = as_probabilities("probabilities", p)
    return reduced(np.abs(_numerics.x_log_x(p).sum(axis=1)) * nats_to(base), reduction)


def cross_entropy_of(p: Any, q: Any, *, base: float = e, reduction: Reduction = "mean") -> Any:
    """Cross-entropy −Σ_c p_c log q_c of a distribution q against p, the truth; +inf where q excludes it.

    Examples
    --------
    >>> round(cross_entropy_of([1.0, 0.0, 0.0], [0.5, 0.2, 0.3]), 4)  # −ln 0.5
    0.6931
    """
    p, q = _pair(p, q)
    return reduced(np.abs(_numerics.x_log_y(p, q).sum(axis=1)) * nats_to(base), reduction)


def kl_divergence(p: Any, q: Any, *, base: float = e, reduction: Reduction = "mean") -> Any:
    """Kullback–Leibler divergence Σ_c p_c log(p_c/q_c) ≥ 0 of q from p; +inf where q excludes the truth p.

    It is `cross_entropy_of` (p, q) less `entropy` (p): what is paid for believing q where p holds.

    Examples
    --------
    >>> kl_divergence([1.0, 0.0], [0.25, 0.75], base=2)
    2.0
    """
    p, q = _pair(p, q)
    # Adding q − p, which sums to zero, leaves no negative term, even if p and q are typed in with few digits.
    terms = _numerics.x_log_x(p) - _numerics.x_log_y(p, q) - p + q
    return reduced(np.maximum(terms.sum(axis=1), 0) * nats_to(base), reduction)


def binary_cross_entropy(probabilities: Any, target: Any, *, base: float = e, reduction: Reduction = "mean") -> Any:
    """Σ_c −y_c log p_c − (1 − y_c) log(1 − p_c): independent yes-or-no answers, summed over the columns.

    ``probabilities`` and ``target`` have the same shape and entries in [0, 1]; rows need not sum to one. One
    dimension is one sample with several answers; n samples with one answer each are (n, 1). A confident
    mistake, p = 0 for y = 1, costs +inf.

    Examples
    --------
    >>> round(binary_cross_entropy([[0.8], [0.2]], [[1], [0]]), 4)
    0.2231
    """
    p, y = as_fractions("probabilities", probabilities), as_fractions("targets", target)
    _check_shapes(p, y)
    terms = _numerics.x_log_y(y, p) + _numerics.x_log_y(1 - y, 1 - p)
    return reduced(np.abs(terms.sum(axis=1)) * nats_to(base), reduction)


def mean_squared_error(probabilities: Any, target: Any, *, reduction: Reduction = "mean") -> Any:
    """Squared error ‖p − y‖² of probabilities, summed over the classes and averaged over the samples.

    This is the Brier score in its first form, between 0 and 2; it does not divide by the number of classes.

    Examples
    --------
    >>> mean_squared_error([0.5, 0.25, 0.25], 0)
    0.375
    """
    p = as_probabilities("probabilities", probabilities)
    error = p - target_rows(target, probabilities, p.shape[1])
    return reduced((error * error).sum(axis=1), reduction)


def classification_error(outputs: Any, target: Any, *, reduction: Reduction = "mean") -> Any:
    """The share of samples whose highest score (or probability) is not at the target; of equals the first.

    For rows of probabilities as targets, the target is the first of their highest.

    Examples
    --------
    >>> classification_error([[0.1, 0.9], [3.0, -1.0]], [1, 1])
    0.5
    """
    scores = as_samples("outputs", outputs)
    rows = target_rows(target, outputs, scores.shape[1])
    return reduced((scores.argmax(axis=1) != rows.argmax(axis=1)).astype(np.float64), reduction)


def _floating(scores: Any) -> Array:
    """Scores as floating numbers without NaN, of any shape with at least one dimension."""
    z = np.asarray(scores)
    if z.dtype not in (np.float32, np.float64):
        z = z.astype(np.float64)
    if z.ndim == 0:
        raise ValueError("scores must have at least one dimension, that of the classes")
    if np.isnan(z).any():
        raise ValueError("scores contain NaN")
    return np.asarray(z)


def _pair(p: Any, q: Any) -> tuple[Array, Array]:
    """Two distributions of the same shape."""
    p, q = as_probabilities("p", p), as_probabilities("q", q)
    _check_shapes(p, q)
    return p, q


def _check_shapes(p: Array, q: Array) -> None:
    """Refuse two arrays of different shapes."""
    if p.shape != q.shape:
        raise ValueError(f"the two arguments must have the same shape, not {p.shape} and {q.shape}")


def _expected(rows: Array, log_p: Array) -> Array:
    """Σ_c y_c log p_c with 0·(−∞) = 0."""
    product = np.zeros_like(rows)
    return np.asarray(np.multiply(rows, log_p, out=product, where=rows > 0).sum(axis=1))
