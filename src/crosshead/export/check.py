"""Check that an exported graph has the model's predictions, with onnxruntime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from crosshead.data.dataset import Array
from crosshead.data.errors import DataError, load_package
from crosshead.export.graph import Exported

TOLERANCE = {"float32": 1e-4, "float64": 1e-9}
"""Tolerance of probabilities, and of scores relative to the largest one."""


@dataclass(frozen=True)
class Check:
    """The largest differences over all inputs, and the number of different predictions.

    ``scores`` is relative to the largest score; ``different`` counts rows whose predicted class differs, and ``ties``
    those of them whose two best scores are equal up to rounding.

    Examples
    --------
    >>> Check(n_inputs=3, scores=1e-7, probabilities=None, different=0, ties=0, tolerance=1e-5).passed
    True
    """

    n_inputs: int
    scores: float
    probabilities: float | None
    different: int
    ties: int
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the graph may replace the model."""
        near = max(self.scores, self.probabilities or 0.0) <= self.tolerance
        return near and self.different == self.ties

    def __add__(self, other: Check) -> Check:
        known = [one for one in (self.probabilities, other.probabilities) if one is not None]
        return Check(
            self.n_inputs + other.n_inputs,
            max(self.scores, other.scores),
            max(known) if known else None,
            self.different + other.different,
            self.ties + other.ties,
            self.tolerance,
        )


class Runner:
    """An exported graph in onnxruntime."""

    def __init__(self, exported: Exported) -> None:
        runtime = load_package("onnxruntime", "crosshead[onnx]", "checking an export")
        options = runtime.SessionOptions()
        options.log_severity_level = 4
        try:
            self._session = runtime.InferenceSession(
                exported.content, options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
        except Exception as error:  # onnxruntime has its own exception classes
            raise DataError(f"onnxruntime cannot run the exported graph ({error})") from error
        self._exported = exported
        size = self._session.get_inputs()[0].shape[0]
        self._batch = size if isinstance(size, int) else None

    def __call__(self, inputs: Array) -> tuple[Array, Array | None, Array]:
        """Compute scores, probabilities and predicted indices; inputs need not fill a batch of fixed size."""
        outputs = self._exported.outputs
        names = [name for name in (outputs.scores, outputs.probabilities, outputs.predicted) if name is not None]
        parts = []
        size = self._batch or len(inputs)
        for first in range(0, len(inputs), size):
            part = inputs[first : first + size]
            filled = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
            found = self._session.run(names, {self._exported.input: filled})
            parts.append([np.asarray(one)[: len(part)] for one in found])
        joined = [np.concatenate(columns) for columns in zip(*parts, strict=True)]
        return joined[0], (joined[1] if outputs.probabilities is not None else None), joined[-1]


def check_export(runner: Any, inputs: Array, scores: Array, probabilities: Array | None, dtype: str) -> Check:
    """Compare the outputs of an exported graph with the model's scores (n, C) and probabilities (n, C).

    ``runner`` computes scores, probabilities and predicted indices of ``inputs``; ``dtype`` is that of the graph.
    Raises DataError if only one of graph and model has probabilities.

    Examples
    --------
    >>> scores = np.array([[2.0, 1.0], [0.0, 1.0]])
    >>> check_export(lambda inputs: (inputs, None, inputs.argmax(axis=1)), scores, scores, None, "float32").passed
    True
    """
    their_scores, their_probabilities, predicted = runner(inputs)
    if (their_probabilities is None) != (probabilities is None):
        raise DataError("the exported graph and the model do not agree on whether there are probabilities")
    tolerance = TOLERANCE[dtype]
    scale = float(np.abs(scores).max()) or 1.0
    between = float(np.abs(their_scores - scores).max()) / scale
    apart = None
    if probabilities is not None and their_probabilities is not None:
        apart = float(np.abs(their_probabilities - probabilities).max())
    differ = np.flatnonzero(predicted != scores.argmax(axis=1))
    best = np.sort(scores[differ], axis=1)
    ties = int((best[:, -1] - best[:, -2] <= 2 * tolerance * scale).sum()) if differ.size else 0
    return Check(len(inputs), between, apart, differ.size, ties, tolerance)
