"""Convert outputs of a model, probabilities or scores, to outcomes of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosshead.evaluation import _checks
from crosshead.evaluation.metrics.row_outcomes import Outcomes, outcomes_of_probabilities, outcomes_of_scores
from crosshead.losses import as_loss
from crosshead.losses.functions import log_softmax
from crosshead.losses.protocol import Array, Float, Loss


class Outputs:
    """Interprets outputs as probabilities, or as scores of a loss, with or without a temperature."""

    def __init__(self, loss: Loss | str | None, temperature: float | None, tolerance: float | None) -> None:
        self.loss = None if loss is None else as_loss(loss)
        self.temperature, self.tolerance = temperature, tolerance
        if temperature is not None and self.loss is None:
            raise ValueError("a temperature is for scores: name their loss too, as loss='softmax'")
        if temperature is not None and not (np.isfinite(temperature) and temperature > 0):
            raise ValueError(f"the temperature must be positive and finite, not {temperature}")

    @property
    def have_probabilities(self) -> bool:
        """Whether the outputs are probabilities or can be converted to them."""
        return self.loss is None or self.temperature is not None or self.loss.has_probabilities

    def outcomes(
        self, outputs: Any, target: NDArray[np.intp], first: int
    ) -> tuple[Outcomes, Float | None, Float | None]:
        """The outcomes of rows, their probabilities (n, C) or None, their losses (n,) or None."""
        if self.loss is None:
            p = _checks.as_probability_block(outputs, first, self.tolerance)
            return outcomes_of_probabilities(p, target), p, None
        scores = _checks.as_score_block(outputs, first)
        losses = np.asarray(self.loss.value(scores, target), dtype=np.float64)
        if not self.have_probabilities:
            return outcomes_of_scores(scores, target), None, losses
        log_p = log_probabilities(self.loss, scores, self.temperature)
        p, nll = np.exp(log_p), np.abs(log_p[np.arange(len(target)), target])
        found, from_scores = outcomes_of_probabilities(p, target, nll), outcomes_of_scores(scores, target)
        # If probabilities are equal after rounding, the scores still determine which is higher.
        return Outcomes(from_scores.predicted, from_scores.rank, found.confidence, nll, found.brier), p, losses


def log_probabilities(loss: Loss, scores: Array, temperature: float | None = None) -> Array:
    """Log-probabilities (n, C) in nats: log softmax(z/T) with a temperature, else those of the loss."""
    return loss.predict_log_proba(scores) if temperature is None else log_softmax(scores / temperature)
