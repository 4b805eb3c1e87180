"""Explain the loss of one sample whose probabilities are given."""

from __future__ import annotations

from collections.abc import Sequence
from math import e
from typing import Any

import numpy as np

from crosshead.explain.inputs import as_weight, target_of
from crosshead.explain.loss_steps import unit_of, weight_steps
from crosshead.explain.losses.probabilities import MEASURES, Measure, ProbabilitySample, gradient_of
from crosshead.explain.result import Explanation
from crosshead.explain.sample import class_names
from crosshead.losses._samples import as_fractions, as_probabilities, nats_to
from crosshead.losses.protocol import Float

ALIASES = {"nll": "cross_entropy", "softmax": "cross_entropy", "binary": "bce", "brier": "mse"}


def explain_probabilities(
    probabilities: Any,
    target: Any = None,
    loss: str = "cross_entropy",
    *,
    base: float = e,
    classes: Sequence[Any] | None = None,
    sample_weight: float = 1.0,
) -> Explanation:
    """Explain the arithmetic of a loss of one sample's probabilities p (C,).

    Parameters
    ----------
    probabilities : array (C,)
        Probabilities of the classes; for "bce" any numbers in [0, 1].
    target : int, str or array (C,), optional
        Index or name of the true class, or a row of numbers: a distribution, or for "bce" any numbers in [0, 1]. For
        "bce" of a single probability, 0 or 1.
    loss : str, default="cross_entropy"
        "cross_entropy" or "nll", −Σ y_c log p_c; "bce", Σ −y_c log p_c − (1 − y_c) log(1 − p_c); "mse" or "brier",
        Σ (p_c − y_c)²; "entropy", −Σ p_c log p_c, which takes no target.
    base : float, default=e
        Base of the logarithms: e gives nats, 2 bits, 10 bans.
    classes : sequence, optional
        Class names.
    sample_weight : float, default=1.0
        Factor of the loss.

    Returns
    -------
    Explanation

    Raises
    ------
    ValueError
        If probabilities are negative, NaN or (except for "bce") do not sum to 1, or the target is not a class.

    Examples
    --------
    >>> explanation = explain_probabilities([0.1, 0.15, 0.05, 0.6, 0.1], 3)
    >>> round(explanation.value, 4), explanation.step("loss").total.arithmetic
    (0.5108, '−ln(0.6)')
    """
    name = ALIASES.get(loss, loss)
    if name not in MEASURES:
        raise ValueError(f"unknown loss of probabilities {loss!r}; choose one of {', '.join(MEASURES)}")
    measure = MEASURES[name]
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 1:
        raise ValueError(f"probabilities of one sample must have shape (classes,), not {p.shape}")
    p = _checked("probabilities", p, measure)
    nats_to(base)
    if base != e and not measure.logarithmic:
        raise ValueError(f"base is for losses that are logarithms, and {name} is not one")
    names = class_names(classes, len(p))
    if not measure.needs_target:
        if target is not None:
            raise ValueError(f"{name} takes no target")
        sample = ProbabilitySample(p, np.zeros_like(p), -1, names, base)
    elif target is None:
        raise ValueError(f"{name} needs a target")
    elif name == "bce" and len(p) == 1:
        answer = float(np.ravel(target)[0])
        sample = ProbabilitySample(p, _checked("targets", np.array([answer]), measure), -1, names, base)
    else:
        index, row = target_of(target, names, len(p))
        goal = _checked("target probabilities", np.eye(len(p))[index] if row is None else row, measure)
        sample = ProbabilitySample(p, goal, index, names, base)
    value, weight = measure.value(sample), as_weight(sample_weight)
    steps = tuple(measure.steps(sample))
    return Explanation(
        loss=name,
        options={} if base == e else {"base": base},
        value=value,
        unit=unit_of(base) if measure.logarithmic else "",
        classes=names,
        target=sample.target if sample.target >= 0 else None,
        predicted=int(p.argmax()) if measure.sums_to_one and measure.needs_target else None,
        scores=None,
        probabilities=p,
        gradient=gradient_of(name, sample) if measure.needs_target else None,
        steps=(*steps, *weight_steps(value, {"sample weight": weight})),
        weight=weight,
    )


def _checked(name: str, values: Float, measure: Measure) -> Float:
    """Check one sample's probabilities, or numbers in [0, 1]; the error messages do not mention rows."""
    try:
        return np.asarray((as_probabilities if measure.sums_to_one else as_fractions)(name, values)[0])
    except ValueError as error:
        words = str(error).replace("row 0 sums", "these sum").replace("row 0 contains", "these contain")
        raise ValueError(words.removesuffix(" in row 0")) from error
