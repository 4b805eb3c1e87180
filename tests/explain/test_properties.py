"""Whatever the scores: every line adds up, and the explanation says what the loss itself says."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from crosshead.explain import LOSS_STEPS, MEASURES, explain, explain_linear, explain_probabilities
from crosshead.explain.losses.softmax_squared_error import SoftmaxSquaredError
from crosshead.losses import LOSSES, functions, get_loss
from crosshead.penalties import ElasticNet

ELIDED = "…"

_NAMES: dict[str, Any] = {
    "max": max,
    "min": min,
    "abs": abs,
    "exp": np.exp,
    "ln": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "sqrt": np.sqrt,
    "inf": np.inf,
    "softplus": lambda u: np.logaddexp(0.0, u),
    "sigmoid": lambda u: np.exp(-np.logaddexp(0.0, -u)),
    "sum": np.sum,
    "dot": np.dot,
    "norm": lambda v: np.sqrt(np.sum(np.square(v))),
    "squares": lambda v: np.sum(np.square(v)),
    "sizes": lambda v: np.sum(np.abs(v)),
}
_SIGNS = {"−": "-", "·": "*", "²": "**2", "³": "**3", "√": "sqrt", "log₂": "log2", "log₁₀": "log10", "∞": "inf"}


def as_shown(arithmetic: str) -> float:
    """The value of a line's arithmetic as a person with a calculator finds it."""
    for sign, python in _SIGNS.items():
        arithmetic = arithmetic.replace(sign, python)
    arithmetic = re.sub(r"\|([^|]*)\|", r"abs(\1)", arithmetic)
    return _result(arithmetic, {})


def from_inputs(line: dict[str, Any]) -> float:
    """The value of a line in `to_dict`, from its expression and inputs."""
    inputs = {name: np.float64(value) if isinstance(value, float) else value for name, value in line["inputs"].items()}
    return _result(line["expression"], inputs)


def _result(text: str, names: dict[str, Any]) -> float:
    with np.errstate(all="ignore"):
        return float(eval(text, {"__builtins__": {}}, {**_NAMES, **names}))


def lines_of(step: dict[str, Any]) -> list[dict[str, Any]]:
    return [*step["lines"], *([] if step["total"] is None else [step["total"]])]


SCORES = st.lists(st.floats(-30, 30).map(lambda z: round(z, 6)), min_size=1, max_size=15)


def made(loss, **options):
    return SoftmaxSquaredError() if loss == "mse" else get_loss(loss, **options)


def assert_adds_up(document):
    for step in document["steps"]:
        for line in lines_of(step):
            assert from_inputs(line) == pytest.approx(line["value"], rel=1e-9, abs=1e-12), (step["key"], line)
            if ELIDED not in line["arithmetic"]:
                assert as_shown(line["arithmetic"]) == pytest.approx(line["value"], rel=3e-4, abs=1e-11), line


def test_every_loss_has_its_lesson():
    assert set(LOSS_STEPS) == {*LOSSES, "mse"}


@pytest.mark.parametrize("loss", LOSS_STEPS)
@given(scores=SCORES, data=st.data())
@example(scores=[1e4, -1e4, 0.0], data=None)
@example(scores=[0.0, 0.0, 0.0], data=None)
def test_steps_add_up_to_the_loss(loss, scores, data):
    target = 1 if data is None else data.draw(st.integers(0, len(scores) - 1))
    explanation = explain(scores, target, loss=loss)
    z = np.array([scores])
    value, gradient = made(loss).value_and_gradient(z, np.array([target]))
    assert explanation.value == pytest.approx(float(value[0]), rel=1e-9, abs=1e-12)
    assert explanation.step("loss").result == pytest.approx(explanation.value, rel=1e-9, abs=1e-12)
    assert explanation.gradient == pytest.approx(gradient[0], rel=1e-9, abs=1e-12)
    alternatives = made(loss).value(np.repeat(z, len(scores), axis=0), np.arange(len(scores)))
    assert explanation.alternatives == pytest.approx(alternatives, rel=1e-9, abs=1e-12)
    if data is not None:
        assert_adds_up(explanation.to_dict())


@pytest.mark.parametrize("loss", LOSS_STEPS)
@given(scores=SCORES, data=st.data())
def test_the_lines_are_the_gradient(loss, scores, data):
    assume(len(scores) <= 12)
    target = data.draw(st.integers(0, len(scores) - 1))
    explanation = explain(scores, target, loss=loss)
    assert explanation.step("gradient").result == pytest.approx(tuple(explanation.gradient), rel=1e-9, abs=1e-12)
    assert explanation.step("alternatives").result == pytest.approx(
        tuple(explanation.alternatives), rel=1e-9, abs=1e-12
    )


@pytest.mark.parametrize("loss", ["softmax", "binary", "squared_hinge", "squared_error", "mse"])
@given(scores=st.lists(st.floats(-5, 5), min_size=2, max_size=6), data=st.data())
def test_gradients_are_finite_differences(loss, scores, data):
    target = data.draw(st.integers(0, len(scores) - 1))
    steps = 1e-5 * np.eye(len(scores))
    values = [[explain(scores + sign * step, target, loss=loss).value for sign in (1, -1)] for step in steps]
    slopes = [(above - below) / 2e-5 for above, below in values]
    assert explain(scores, target, loss=loss).gradient == pytest.approx(slopes, rel=1e-4, abs=6e-5)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=6))
def test_the_jacobian_is_finite_differences(scores):
    step = explain(scores, 0, loss="softmax", jacobian=True).step("jacobian")
    found = np.reshape(step.result, (len(scores), len(scores)))
    nudges = 1e-5 * np.eye(len(scores))
    columns = [(functions.softmax(scores + d) - functions.softmax(scores - d)) / 2e-5 for d in nudges]
    assert found == pytest.approx(np.transpose(columns), abs=1e-8)


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        ("hinge", {"margin": 2.5}),
        ("squared_hinge", {"margin": 0.5}),
        ("crammer_singer", {"margin": 3.0}),
        ("softmax", {"label_smoothing": 0.2}),
        ("softmax", {"label_smoothing": 1.0}),
    ],
)
@given(scores=SCORES, data=st.data())
def test_options(loss, options, scores, data):
    target = data.draw(st.integers(0, len(scores) - 1))
    explanation = explain(scores, target, loss=loss, **options)
    value, gradient = get_loss(loss, **options).value_and_gradient(np.array([scores]), np.array([target]))
    assert explanation.value == pytest.approx(float(value[0]), rel=1e-9, abs=1e-11)
    assert explanation.step("loss").result == pytest.approx(explanation.value, rel=1e-9, abs=1e-11)
    assert explanation.gradient == pytest.approx(gradient[0], rel=1e-9, abs=1e-12)
    assert_adds_up(explanation.to_dict())


@st.composite
def distributions(draw, size):
    weights = draw(st.lists(st.floats(0, 1).map(lambda w: round(w, 3)), min_size=size, max_size=size))
    assume(sum(weights) > 0.01)
    return np.array(weights) / np.sum(weights)


@pytest.mark.parametrize("loss", ["softmax", "binary", "squared_error", "mse"])
@given(scores=SCORES, base=st.sampled_from([np.e, 2.0, 10.0, 3.0]), data=st.data())
def test_rows_of_targets_and_bases(loss, scores, base, data):
    row = data.draw(distributions(len(scores)))
    if loss not in ("softmax", "binary"):
        base = np.e
    explanation = explain(scores, row, loss=loss, base=base)
    value = made(loss).value(np.array([scores]), row[None])[0] / np.log(base)
    assert explanation.value == pytest.approx(float(value), rel=1e-9, abs=1e-11)
    assert explanation.target is None
    assert_adds_up(explanation.to_dict())


@pytest.mark.parametrize("loss", [loss for loss in LOSS_STEPS if loss != "mse"])
@given(data=st.data(), classes=st.integers(2, 4), features=st.integers(1, 12))
def test_the_way_through_the_weights(loss, data, classes, features):
    numbers = st.floats(-3, 3).map(lambda x: round(x, 3))
    weight = np.reshape(
        data.draw(st.lists(numbers, min_size=classes * features, max_size=classes * features)), (classes, features)
    )
    x = np.array(data.draw(st.lists(numbers, min_size=features, max_size=features)))
    bias = np.array(data.draw(st.lists(numbers, min_size=classes, max_size=classes)))
    penalty = ElasticNet(0.3, 0.25)
    explanation = explain_linear(weight, x, 1, bias=bias, loss=loss, penalty=penalty, sample_weight=2.0)
    scores = weight @ x + bias
    value, gradient = get_loss(loss).value_and_gradient(scores[None], np.array([1]))
    assert explanation.scores == pytest.approx(scores)
    assert explanation.value == pytest.approx(float(value[0]), rel=1e-9, abs=1e-12)
    outer = explanation.step("weight_gradient")
    assert outer.total.value == pytest.approx(np.linalg.norm(2 * np.outer(gradient[0], x)), rel=1e-9, abs=1e-12)
    assert explanation.step("penalty").result == pytest.approx(penalty.value(weight), rel=1e-12)
    assert explanation.step("objective").result == pytest.approx(float(value[0]) + penalty.value(weight))
    assert_adds_up(explanation.to_dict())


@given(data=st.data(), size=st.integers(2, 9), base=st.sampled_from([np.e, 2.0, 10.0, 5.0]))
@pytest.mark.parametrize("loss", MEASURES)
def test_probabilities(loss, data, size, base):
    p = data.draw(distributions(size))
    base = np.e if loss == "mse" else base
    target = None if loss == "entropy" else data.draw(st.one_of(st.integers(0, size - 1), distributions(size)))
    explanation = explain_probabilities(p, target, loss, base=base)
    row = np.eye(size)[target] if isinstance(target, int) else target
    with np.errstate(divide="ignore", invalid="ignore"):
        truth = {
            "cross_entropy": lambda: -np.sum(np.where(row > 0, row * np.log(p), 0)),
            "mse": lambda: np.sum((p - row) ** 2),
            "entropy": lambda: -np.sum(np.where(p > 0, p * np.log(p), 0)),
            "bce": lambda: (
                -np.sum(np.where(row > 0, row * np.log(p), 0) + np.where(row < 1, (1 - row) * np.log(1 - p), 0))
            ),
        }[loss]()
    assert explanation.value == pytest.approx(float(truth) / np.log(base), rel=1e-9, abs=1e-12)
    assert explanation.step("loss").result == pytest.approx(explanation.value, rel=1e-9, abs=1e-12)
    if np.isfinite(explanation.value):
        assert_adds_up(explanation.to_dict())
        if explanation.gradient is not None and size <= 12:
            assert explanation.step("gradient").result == pytest.approx(
                tuple(explanation.gradient), rel=1e-9, abs=1e-12
            )
