"""The last layer in ONNX operators: scaling, scores, probabilities, predicted class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from crosshead.data.errors import DataError, load_package
from crosshead.models import Model

EXTRA = "crosshead[onnx]"
LOWEST_OPSET = 13
"""From this opset on, Softmax works on a single axis."""

SCORES, PROBABILITIES, PREDICTED = "scores", "probabilities", "predicted"


@dataclass
class Nodes:
    """Nodes and constants of a graph under construction; ``taken`` are names in use."""

    dtype: np.dtype[Any]
    taken: set[str] = field(default_factory=set)
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def add(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Append a node and return the name of its output, which is changed if it is taken."""
        helper = load_package("onnx.helper", EXTRA, "exporting")
        name = self._free(output)
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=f"node of {name}", **attributes))
        return name

    def constant(self, name: str, values: Any) -> str:
        """Add an array in the graph's dtype and return its name."""
        numpy_helper = load_package("onnx.numpy_helper", EXTRA, "exporting")
        free = self._free(name)
        array = np.ascontiguousarray(values, dtype=self.dtype)
        if not np.isfinite(array).all():
            raise DataError(f"the model's {name} does not fit {self.dtype}; export it with --dtype float64")
        self.constants.append(numpy_helper.from_array(array, free))
        return free

    def _free(self, name: str) -> str:
        while name in self.taken:
            name = f"head_{name}"
        self.taken.add(name)
        return name


@dataclass(frozen=True)
class HeadOutputs:
    """The names of the outputs; probabilities are None for models without them."""

    scores: str
    probabilities: str | None
    predicted: str


def add_head(nodes: Nodes, model: Model, features: str) -> HeadOutputs:
    """Append the model to a graph whose tensor ``features`` is (n, D)."""
    scaled, scaling = features, model.scaling
    if scaling.centre is not None:
        scaled = nodes.add("Sub", [scaled, nodes.constant("centre", scaling.centre)], "centred")
    if scaling.scale is not None:
        scaled = nodes.add("Div", [scaled, nodes.constant("scale", scaling.scale)], "scaled")
    weight, bias = nodes.constant("weight", model.weight), nodes.constant("bias", model.bias)
    scores = nodes.add("Gemm", [scaled, weight, bias], SCORES, transB=1)
    predicted = nodes.add("ArgMax", [scores], PREDICTED, axis=1, keepdims=0)
    return HeadOutputs(scores, _add_probabilities(nodes, model, scores), predicted)


def _add_probabilities(nodes: Nodes, model: Model, scores: str) -> str | None:
    if model.temperature is not None:
        cooled = nodes.add("Div", [scores, nodes.constant("temperature", [model.temperature])], "cooled")
        return _softmax(nodes, cooled)
    link = _LINKS.get(model.loss)
    return None if link is None else link(nodes, scores)


def _softmax(nodes: Nodes, scores: str) -> str:
    return nodes.add("Softmax", [scores], PROBABILITIES, axis=1)


def _normalised_sigmoids(nodes: Nodes, scores: str) -> str:
    """sigmoid(z_c) / Σ_k sigmoid(z_k), computed on logarithms to avoid 0/0.

    −log sigmoid(z) = max(−z, 0) + log(1 + exp(−|z|)) does not overflow; onnxruntime has no Softplus of float64.
    """
    positive = nodes.add("Relu", [nodes.add("Neg", [scores], "negative")], "positive_part")
    small = nodes.add("Exp", [nodes.add("Neg", [nodes.add("Abs", [scores], "size")], "minus_size")], "small")
    rest = nodes.add("Log", [nodes.add("Add", [small, nodes.constant("one", [1.0])], "one_more")], "rest")
    cost = nodes.add("Add", [positive, rest], "minus_log_sigmoid")
    return _softmax(nodes, nodes.add("Neg", [cost], "log_sigmoid"))


_LINKS: dict[str, Callable[[Nodes, str], str]] = {"softmax": _softmax, "binary": _normalised_sigmoids}
"""Probabilities of each loss; the check of every export compares them with the losses."""
