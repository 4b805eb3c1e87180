"""The arithmetic of one sample, step by step: from features to scores, loss and gradient.

`explain` takes scores and a target, or a model and a row; `explain_probabilities` takes probabilities. The result's
steps carry formula, numbers and result, and can be printed, put on a page (`to_html`) or into JSON (`to_dict`).
"""

from crosshead.explain.api import (
    explain,
    explain_flatten,
    explain_linear,
    explain_probability_samples,
    explain_samples,
)
from crosshead.explain.inputs import LESSONS
from crosshead.explain.losses.probabilities import MEASURES
from crosshead.explain.probabilities import explain_probabilities
from crosshead.explain.render.html import EXPLANATION_CSS, page
from crosshead.explain.result import Explanation, SampleExplanations
from crosshead.explain.steps import Line, Step

__all__ = [
    "EXPLANATION_CSS",
    "LESSONS",
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
