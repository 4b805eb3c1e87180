"""The squared error of softmax probabilities, and its steps. Its gradient vanishes where the softmax saturates."""

from __future__ import annotations

from typing import Any

import numpy as np

from crosshead.explain.loss_steps import LossSteps, as_tuple, class_lines
from crosshead.explain.losses.softmax import probability_steps
from crosshead.explain.sample import Sample
from crosshead.explain.steps import Line, Step
from crosshead.losses import functions
from crosshead.losses.protocol import Array


class SoftmaxSquaredError:
    """The squared error ‖softmax(z) − y‖² of scores z: a sample's Brier score, to compare with the softmax loss.

    Examples
    --------
    >>> SoftmaxSquaredError().value(np.zeros((1, 2)), np.array([0]))
    array([0.5])
    """

    name = "mse"
    accepts_probabilities = True
    has_probabilities = True

    def value(self, scores: Array, target: Any) -> Array:
        """The loss of each sample, (n,)."""
        return np.asarray(functions.mean_squared_error(functions.softmax(scores), target, reduction="none"))

    def value_and_gradient(self, scores: Array, target: Any) -> tuple[Array, Array]:
        """The loss of each sample, (n,), and 2 p∘(d − ⟨p, d⟩) with d = p − y, (n, C)."""
        p = functions.softmax(scores)
        goal = target if np.ndim(target) == 2 else np.eye(p.shape[1])[np.asarray(target)]
        difference = p - goal
        gradient = 2 * p * (difference - (p * difference).sum(axis=1, keepdims=True))
        return self.value(scores, target), gradient

    def predict_proba(self, scores: Array) -> Array:
        """softmax(z), (n, C)."""
        return functions.softmax(scores)


def squared_terms(sample: Sample, p: Array, goal: Array) -> tuple[Line, ...]:
    """(p − y)² of each class shown."""
    return class_lines(
        sample,
        lambda c: Line(sample.name(c), "(p - y)**2", {"p": float(p[c]), "y": float(goal[c])}, marked=sample.marked(c)),
    )


def _steps(sample: Sample) -> list[Step]:
    p, goal = functions.softmax(sample.scores), sample.goal
    loss = Step(
        "loss",
        "Loss",
        "ℓ = Σ_c (p_c − y_c)²",
        squared_terms(sample, p, goal),
        Line("loss", "sum(terms)", {"terms": as_tuple((p - goal) ** 2)}),
        "The squared distance from the target, summed over the classes; never more than 2.",
    )
    return [*probability_steps(sample), loss]


def _gradient(sample: Sample) -> Step:
    p, goal = functions.softmax(sample.scores), sample.goal
    mean = float(p @ (p - goal))

    def line(c: int) -> Line:
        numbers = {"p": float(p[c]), "y": float(goal[c]), "mean": mean}
        return Line(sample.name(c), "2 * p * (p - y - mean)", numbers, marked=sample.marked(c))

    return Step(
        "gradient",
        "Gradient on the scores",
        "∂ℓ/∂z_c = 2·p_c·(p_c − y_c − Σ_k p_k·(p_k − y_k))",
        class_lines(sample, line),
        None,
        "The chain rule through softmax multiplies by p_c: where p is close to 0 or 1 the gradient vanishes, even if "
        "the prediction is wrong. The softmax loss has the gradient p_c − y_c there, which does not vanish.",
    )


def _alternative(sample: Sample, column: int) -> Line:
    p = functions.softmax(sample.scores)
    goal = np.zeros_like(p)
    goal[column] = 1
    return Line(sample.name(column), "sum(terms)", {"terms": as_tuple((p - goal) ** 2)}, marked=sample.marked(column))


SOFTMAX_SQUARED_ERROR = LossSteps(_steps, _gradient, _alternative)
