"""Explain the arithmetic of one sample, step by step: from features to scores, loss and gradient.

`explain` takes scores and a target, or a model and a row; `explain_probabilities` takes probabilities. Each step of
the result has a formula, its numbers and its value; the result converts to text, HTML (`to_html`) and JSON (`to_dict`).
"""

from crosshead.explain.api import (
    explain,
    explain_flatten,
    explain_linear,
    explain_probability_samples,
    explain_samples,
)
from crosshead.explain.inputs import LOSS_STEPS
from crosshead.explain.losses.probabilities import MEASURES
from crosshead.explain.probabilities import explain_probabilities
from crosshead.explain.render.html import EXPLANATION_CSS
from crosshead.explain.render.page import page
from crosshead.explain.result import Explanation, SampleExplanations
from crosshead.explain.steps import Line, Step

__all__ = [
    "EXPLANATION_CSS",
    "LOSS_STEPS",
    "MEASURES",
    "Explanation",
    "Line",
    "SampleExplanations",
    "Step",
    "explain",
    "explain_flatten",
    "explain_linear",
    "explain_probabilities",
    "explain_probability_samples",
    "explain_samples",
    "page",
]
