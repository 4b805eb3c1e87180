"""Explanations of one sample or several, with output as text, HTML and JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from crosshead.escaping import for_terminal
from crosshead.explain.expression import shown
from crosshead.explain.render.html import explanation_html, samples_html
from crosshead.explain.render.text import explanation_text, samples_text
from crosshead.explain.steps import Step
from crosshead.losses.protocol import Float


@dataclass(frozen=True, eq=False)
class Explanation:
    """The arithmetic of one sample's loss, as `explain` returns it.

    * ``loss``: name of the loss; ``options``: its parameters; ``value``: the loss in ``unit``, None without a target
    * ``weight``: sample weight times class weight; ``weighted`` is their product with the loss
    * ``classes``: names; ``target``: index of the true class, None if the target is a row of numbers or missing;
      ``predicted``: index of the highest score or probability, the first of equal ones
    * ``scores``, ``probabilities``: (C,) or None
    * ``gradient``: ∂ℓ/∂z (C,), or ∂ℓ/∂p for a loss of probabilities; None without a target
    * ``alternatives``: the loss for each class taken as the true one, (C,), or None
    * ``steps``: the steps from the input to the loss and its gradients

    Examples
    --------
    >>> from crosshead.explain import explain
    >>> explanation = explain([3.2, 5.1, -1.7], 0, loss="softmax")
    >>> round(explanation.value, 4), explanation.unit, explanation.correct
    (2.0404, 'nats', False)
    """

    loss: str
    options: Mapping[str, Any]
    value: float | None
    unit: str
    classes: tuple[str, ...]
    target: int | None
    predicted: int | None
    scores: Float | None
    probabilities: Float | None
    gradient: Float | None
    steps: tuple[Step, ...]
    weight: float = 1.0
    alternatives: Float | None = None
    title: str = field(default="")

    @property
    def weighted(self) -> float | None:
        """The loss times the weight."""
        return None if self.value is None else self.weight * self.value

    @property
    def correct(self) -> bool | None:
        """Whether the prediction is the true class; None if either is missing."""
        return None if self.target is None or self.predicted is None else self.target == self.predicted

    def step(self, key: str) -> Step:
        """The step with this key; KeyError if there is none."""
        for step in self.steps:
            if step.key == key:
                return step
        raise KeyError(f"no step {key!r}; there are {', '.join(step.key for step in self.steps)}")

    @property
    def verdict(self) -> str:
        """One line: the loss and the classes."""
        parts = []
        if self.value is not None:
            unit = f" {self.unit}" if self.unit else ""
            parts.append(f"{self.loss} {shown(self.value)}{unit}")
        if self.target is not None:
            parts.append(f"true {self.classes[self.target]}")
        if self.predicted is not None:
            wrong = " (wrong)" if self.correct is False else ""
            parts.append(f"predicted {self.classes[self.predicted]}{wrong}")
        return for_terminal(", ".join(parts))

    def to_dict(self) -> dict[str, Any]:
        """Convert to a JSON document: plain types, numbers in full precision."""
        return {
            "title": self.title,
            "loss": self.loss,
            "options": dict(self.options),
            "value": self.value,
            "unit": self.unit,
            "weight": self.weight,
            "classes": list(self.classes),
            "target": self.target,
            "target_class": None if self.target is None else self.classes[self.target],
            "predicted": self.predicted,
            "predicted_class": None if self.predicted is None else self.classes[self.predicted],
            "correct": self.correct,
            "scores": _listed(self.scores),
            "probabilities": _listed(self.probabilities),
            "gradient": _listed(self.gradient),
            "alternatives": _listed(self.alternatives),
            "steps": [step.to_dict() for step in self.steps],
        }

    def to_text(self) -> str:
        """Format all steps as text, for a terminal."""
        return explanation_text(self)

    def to_html(self, *, style: bool = True) -> str:
        """Format all steps as a self-contained HTML fragment; ``style=False`` leaves out its CSS."""
        return explanation_html(self, style=style)

    def _repr_html_(self) -> str:
        return self.to_html()

    def __repr__(self) -> str:
        return f"<Explanation: {self.verdict or for_terminal(self.title)}; {len(self.steps)} steps>"

    def __str__(self) -> str:
        return self.to_text()


@dataclass(frozen=True, eq=False)
class SampleExplanations:
    """The explanations of several samples, with the mean, the sum and the error rate.

    Examples
    --------
    >>> from crosshead.explain import explain_samples
    >>> samples = explain_samples([[3.2, 5.1, -1.7], [1.3, 4.9, 2.0]], [0, 1], loss="hinge")
    >>> len(samples), round(samples.mean, 4), samples.error
    (2, 1.45, 0.5)
    """

    samples: tuple[Explanation, ...]

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Explanation]:
        return iter(self.samples)

    def __getitem__(self, index: int) -> Explanation:
        return self.samples[index]

    @property
    def values(self) -> Float:
        """The loss of each sample, (n,), NaN for a sample without target."""
        return np.array([np.nan if sample.value is None else sample.value for sample in self.samples])

    @property
    def weights(self) -> Float:
        """The weight of each sample, (n,)."""
        return np.array([sample.weight for sample in self.samples])

    @property
    def sum(self) -> float:
        """Σ sᵢ ℓᵢ."""
        return float(self.weights @ self.values)

    @property
    def mean(self) -> float:
        """Σ sᵢ ℓᵢ / Σ sᵢ."""
        return self.sum / float(self.weights.sum())

    @property
    def error(self) -> float | None:
        """The weighted share of wrong predictions; None if a sample has no single true class."""
        correct = [sample.correct for sample in self.samples]
        if any(answer is None for answer in correct):
            return None
        wrong = np.array([not answer for answer in correct])
        return float(self.weights @ wrong / self.weights.sum())

    def to_dict(self) -> dict[str, Any]:
        """Convert to a JSON document: plain types, numbers in full precision."""
        return {
            "loss": self.samples[0].loss,
            "unit": self.samples[0].unit,
            "values": self.values.tolist(),
            "mean": self.mean,
            "sum": self.sum,
            "error": self.error,
            "samples": [sample.to_dict() for sample in self.samples],
        }

    def to_text(self) -> str:
        """Format the steps of every sample and the summary as text, for a terminal."""
        return samples_text(self)

    def to_html(self, *, style: bool = True) -> str:
        """Format the steps of every sample and the summary as a self-contained HTML fragment."""
        return samples_html(self, style=style)

    def _repr_html_(self) -> str:
        return self.to_html()

    def __repr__(self) -> str:
        return f"<SampleExplanations: {len(self)} samples, mean {shown(self.mean)}, sum {shown(self.sum)}>"

    def __str__(self) -> str:
        return self.to_text()


def _listed(values: Float | None) -> list[float] | None:
    return None if values is None else [float(value) for value in values]
