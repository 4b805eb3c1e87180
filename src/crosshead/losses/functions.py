"""Softmax, cross-entropy and related functions of scores or probabilities.

Arrays have shape (classes,), one sample, or (samples, classes). Logarithms are to ``base``: e for nats (the default), 2
for bits, 10 for bans. Targets are class indices or rows of probabilities. ``reduction`` is "mean" or "sum" over the
samples, or "none" for one number per sample. Probabilities that do not sum to one, are negative or NaN raise a
ValueError that names the row; they are never rescaled.
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
    """Compute probabilities from scores: p_c = exp(z_c) / Σ_k exp(z_k).

    The result has the shape of the scores, with the classes along ``axis``; float32 stays float32. Adding a number to
    all scores changes nothing; scores of any finite size are allowed.

    Examples
    --------
    >>> softmax([1.0, 2.0, 3.0]).round(4)
    array([0.09  , 0.2447, 0.6652])
    """
    return _numerics.softmax(_floating(scores), axis)


def log_softmax(scores: Any, *, axis: int = -1) -> Array:
    """Compute log-probabilities from scores: z_c − log Σ_k exp(z_k), in nats, finite where softmax underflows.

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
    """Compute the cross-entropy −Σ_c y_c log softmax(z)_c between targets and softmax(scores), the softmax loss.

    Label smoothing ε replaces y by (1 − ε)·y + ε/C first (Szegedy et al., CVPR 2016). Raises ValueError for
    NaN scores, indices outside 0..C−1 and targets that are not probabilities.

    Examples
    --------
    >>> round(cross_entropy([[0.0, 0.0, 0.0, 0.0]], [1]), 4)  # ln 4: equal scores of four classes
    1.3863
    >>> cross_entropy([0.0, 0.0, 0.0, 0.0], 1, base=2)
    2.0
    """
    z = as_samples("scores", scores)
    share = _numerics.unit_interval("label_smoothing", label_smoothing)
    rows = (1 - share) * target_rows(target, scores, z.shape[1]) + share / z.shape[1]
    return reduced(-_expected(rows, _numerics.log_softmax(z)) * nats_to(base), reduction)


def nll(log_probabilities: Any, target: Any, *, base: float = e, reduction: Reduction = "mean") -> Any:
    """Compute the negative log-likelihood −Σ_c y_c log p_c from natural log-probabilities, as of `log_softmax`.

    Raises ValueError if the exponentials of a row do not sum to one, as for scores that were not normalised.

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
    """Compute the entropy −Σ_c p_c log p_c of a distribution, between 0 (certain) and log C (uniform).

    Examples
    --------
    >>> round(entropy([0.25, 0.25, 0.5], base=2), 4)
    1.5
    """
    p = as_probabilities("probabilities", p)
    return reduced(np.abs(_numerics.x_log_x(p).sum(axis=1)) * nats_to(base), reduction)


def cross_entropy_of(p: Any, q: Any, *, base: float = e, reduction: Reduction = "mean") -> Any:
    """Compute the cross-entropy −Σ_c p_c log q_c of q relative to the true distribution p; +inf if q excludes p.

    Examples
    --------
    >>> round(cross_entropy_of([1.0, 0.0, 0.0], [0.5, 0.2, 0.3]), 4)  # −ln 0.5
    0.6931
    """
    p, q = _pair(p, q)
    return reduced(np.abs(_numerics.x_log_y(p, q).sum(axis=1)) * nats_to(base), reduction)


def kl_divergence(p: Any, q: Any, *, base: float = e, reduction: Reduction = "mean") -> Any:
    """Compute the Kullback–Leibler divergence Σ_c p_c log(p_c/q_c) ≥ 0 of q from p; +inf if q excludes p.

    It is `cross_entropy_of` (p, q) minus `entropy` (p): the cost of assuming q when p is true.

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
    """Compute Σ_c −y_c log p_c − (1 − y_c) log(1 − p_c), the sum over the columns of binary cross-entropies.

    ``probabilities`` and ``target`` have the same shape and entries in [0, 1]; rows need not sum to one. Shape (C,) is
    one sample with C labels; n samples with one label each have shape (n, 1). p = 0 for y = 1 costs +inf.

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
    """Compute the squared error ‖p − y‖² of probabilities, summed over the classes and averaged over the samples.

    This is the Brier score in its original form, between 0 and 2, without division by the number of classes.

    Examples
    --------
    >>> mean_squared_error([0.5, 0.25, 0.25], 0)
    0.375
    """
    p = as_probabilities("probabilities", probabilities)
    error = p - target_rows(target, probabilities, p.shape[1])
    return reduced((error * error).sum(axis=1), reduction)


def classification_error(outputs: Any, target: Any, *, reduction: Reduction = "mean") -> Any:
    """Compute the share of samples whose highest score or probability, the first of equal ones, is not the target.

    If targets are rows of probabilities, the first of their highest counts.

    Examples
    --------
    >>> classification_error([[0.1, 0.9], [3.0, -1.0]], [1, 1])
    0.5
    """
    scores = as_samples("outputs", outputs)
    rows = target_rows(target, outputs, scores.shape[1])
    return reduced((scores.argmax(axis=1) != rows.argmax(axis=1)).astype(np.float64), reduction)


def _floating(scores: Any) -> Array:
    """Convert scores to floating-point numbers without NaN, with at least one dimension."""
    z = np.asarray(scores)
    if z.dtype not in (np.float32, np.float64):
        z = z.astype(np.float64)
    if z.ndim == 0:
        raise ValueError("scores must have at least one dimension, that of the classes")
    if np.isnan(z).any():
        raise ValueError("scores contain NaN")
    return np.asarray(z)


def _pair(p: Any, q: Any) -> tuple[Array, Array]:
    """Validate two distributions of the same shape."""
    p, q = as_probabilities("p", p), as_probabilities("q", q)
    _check_shapes(p, q)
    return p, q


def _check_shapes(p: Array, q: Array) -> None:
    """Raise ValueError for two arrays of different shapes."""
    if p.shape != q.shape:
        raise ValueError(f"the two arguments must have the same shape, not {p.shape} and {q.shape}")


def _expected(rows: Array, log_p: Array) -> Array:
    """Σ_c y_c log p_c with 0·(−∞) = 0."""
    product = np.zeros_like(rows)
    return np.asarray(np.multiply(rows, log_p, out=product, where=rows > 0).sum(axis=1))
