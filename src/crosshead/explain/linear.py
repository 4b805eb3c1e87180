"""Steps from features to scores, and from the gradient on the scores to that on the weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from crosshead.explain.expression import Number
from crosshead.explain.loss_steps import as_tuple
from crosshead.explain.sample import columns_to_show
from crosshead.explain.steps import Line, Step
from crosshead.losses.protocol import Float
from crosshead.penalties import ElasticNet
from crosshead.scaling import Scaler

FEW_FEATURES = 8
"""Up to this many features, every product w·x is written out."""

LARGEST = 5
"""How many of the largest contributions and gradient entries are listed."""


@dataclass(frozen=True, eq=False)
class Head:
    """A linear layer: weight (C, D), bias (C,), and the names, shape and scaling of its features.

    ``objective`` is the value of the training objective, if known.
    """

    weight: Float
    bias: Float
    classes: tuple[str, ...]
    scaling: Scaler
    feature_names: Sequence[str] | None = None
    shape: tuple[int, ...] | None = None
    penalty: ElasticNet | None = None
    objective: float | None = None

    def feature(self, index: int) -> str:
        """The display name of a feature: its name, its position in the image or tensor, or its number."""
        if self.shape is not None and len(self.shape) > 1:
            place = ", ".join(str(int(part)) for part in np.unravel_index(index, self.shape))
            return f"x[{place}]"
        return f"x[{index}]" if self.feature_names is None else str(self.feature_names[index])


def flatten_step(shape: Sequence[int], classes: int) -> Step:
    """The step that flattens a tensor into a vector, and the number of weights that it needs.

    Examples
    --------
    >>> flatten_step((100, 4, 4), 7).result, flatten_step((100, 4, 4), 7).lines[0].value
    ((1600.0, 11200.0, 11207.0), 1600.0)
    """
    sides = {f"n{place}": float(side) for place, side in enumerate(shape)}
    features = float(prod(shape))
    size = {"C": float(classes), "D": features}
    return Step(
        "flatten",
        "Flatten the input into one vector",
        "D = the product of the sides; W is C × D",
        (
            Line("features D", " * ".join(sides), sides, f"{' × '.join(str(side) for side in shape)} → a vector"),
            Line("weights in W", "C * D", size, f"W is {classes} × {int(features)}"),
            Line("weights and biases", "C * D + C", size, "one bias per class"),
        ),
        None,
        "A linear layer has one weight for each pair of a class and a feature. The order of the features does not "
        "matter, as long as it is always the same.",
    )


def scaling_step(head: Head, raw: Float, scaled: Float) -> list[Step]:
    """The model's own scaling, for the most important features; empty if it has none."""
    scaler = head.scaling
    if scaler.scale is None:
        return []
    spread = np.broadcast_to(scaler.scale, raw.shape)
    sizes = np.abs(head.weight * scaled).max(axis=0)

    def line(d: int) -> Line:
        numbers = {"x": float(raw[d]), "scale": float(spread[d])}
        if scaler.centre is None:
            return Line(head.feature(d), "x / scale", numbers)
        return Line(head.feature(d), "(x - centre) / scale", {**numbers, "centre": float(scaler.centre[d])})

    formula = "x / largest" if scaler.kind == "maxabs" else "(x − mean) / deviation"
    if scaler.kind == "standard" and scaler.centre is None:
        formula = "x / deviation"
    places = columns_to_show(sizes, [], FEW_FEATURES)
    listed = "" if len(raw) <= FEW_FEATURES else f" The {len(places)} features with the largest weights are listed."
    meaning = f"The model was trained on scaled features, so these are scaled in the same way.{listed}"
    return [Step("scaling", "Scale the features", formula, tuple(map(line, places)), None, meaning)]


def score_steps(head: Head, x: Float, shown: Sequence[int], focus: Sequence[int]) -> list[Step]:
    """W x + b for the classes shown, and the largest contributions for the classes in focus."""
    products = head.weight * x
    few = len(x) <= FEW_FEATURES

    def line(c: int) -> Line:
        bias = float(head.bias[c])
        if few:
            return Line(head.classes[c], "dot(w, x) + b", {"w": as_tuple(head.weight[c]), "x": as_tuple(x), "b": bias})
        first = _largest(products[c])[:3]
        rest = float(np.delete(products[c], first).sum())
        numbers: dict[str, Number] = {"top": as_tuple(products[c, first]), "rest": rest, "b": bias}
        return Line(head.classes[c], "sum(top) + rest + b", numbers)

    rest = "" if few else f" Written out: the three largest w·x, the sum of the other {len(x) - 3}, and the bias."
    steps = [
        Step(
            "scores",
            "Scores",
            "z_c = Σ_d W_cd·x_d + b_c",
            tuple(line(c) for c in shown),
            None,
            f"One score per class: how well the features agree with the class's weights.{rest}",
        )
    ]
    if few:
        return steps
    return [*steps, _contributions(head, products, x, focus)]


def _contributions(head: Head, products: Float, x: Float, focus: Sequence[int]) -> Step:
    lines = tuple(
        Line(f"{head.classes[c]}, {head.feature(d)}", "w * x", {"w": float(head.weight[c, d]), "x": float(x[d])})
        for c in focus
        for d in _largest(products[c])
    )
    names = " and ".join(head.classes[c] for c in focus)
    meaning = f"The {LARGEST} largest by |w·x|, for {names}. The others are in the sums above."
    return Step("contributions", "Largest contributions", "W_cd·x_d", lines, None, meaning)


def _largest(values: Float) -> list[int]:
    return [int(place) for place in np.argsort(-np.abs(values), kind="stable")[:LARGEST]]


def outer_product_step(head: Head, x: Float, gradient: Float, weight: float) -> Step:
    """∂ℓ/∂W = g xᵀ: its norm and its largest entries."""
    rows, columns = _largest(gradient), _largest(x)
    if gradient.size * x.size <= 16:
        rows, columns = list(range(len(gradient))), list(range(len(x)))
    entries = [(c, d) for c in rows for d in columns]
    if gradient.size * x.size > 16:
        entries.sort(key=lambda place: -abs(gradient[place[0]] * x[place[1]]))
        entries = entries[:LARGEST]
    factor = {} if weight == 1 else {"s": weight}
    expression = "s * g * x" if factor else "g * x"

    def line(c: int, d: int) -> Line:
        return Line(
            f"W[{head.classes[c]}, {head.feature(d)}]",
            expression,
            {"g": float(gradient[c]), "x": float(x[d]), **factor},
        )

    push = Line("norm of ∂ℓ/∂z", "norm(g)", {"g": as_tuple(gradient)})
    size = Line("norm of x", "norm(x)", {"x": as_tuple(x)})
    listed = "All entries" if gradient.size * x.size <= 16 else f"The {len(entries)} largest entries"
    return Step(
        "weight_gradient",
        "Gradient on the weights",
        "∂ℓ/∂W = (∂ℓ/∂z) xᵀ, ∂ℓ/∂b = ∂ℓ/∂z",
        (*(line(c, d) for c, d in entries), push, size),
        Line("norm of ∂ℓ/∂W", expression, {"g": push.value, "x": size.value, **factor}),
        f"The outer product of the gradient on the scores and the features. {listed}, and the norm of all.",
    )


def penalty_steps(head: Head, loss: float | None) -> list[Step]:
    """The penalty on the weights, and its share of the objective."""
    squares, sizes = (head.weight**2).sum(axis=1), np.abs(head.weight).sum(axis=1)
    steps = [
        Step(
            "norms",
            "Size of the weights",
            "‖W‖² = Σ w², ‖W‖₁ = Σ |w|",
            (
                *_row_norms(head),
                Line("Σ w²", "sum(rows)", {"rows": as_tuple(squares)}, "class by class"),
                Line("Σ |w|", "sum(rows)", {"rows": as_tuple(sizes)}, "class by class"),
            ),
            None,
            "Squares prefer many small weights to a few large ones; absolute values do not distinguish them.",
        )
    ]
    if head.penalty is None:
        return steps
    numbers = {
        "alpha": head.penalty.alpha,
        "rho": head.penalty.l1_ratio,
        "sizes": float(sizes.sum()),
        "squares": float(squares.sum()),
    }
    cost = Line("penalty R", "alpha * (rho * sizes + (1 - rho) / 2 * squares)", numbers)
    meaning = "The cost of large weights. The bias is not penalised."
    steps.append(Step("penalty", "Penalty", "R = α·(ρ‖W‖₁ + (1 − ρ)/2·‖W‖²)", (), cost, meaning))
    return [*steps, *_objective_step(head, cost.value, loss)]


def _row_norms(head: Head) -> list[Line]:
    if head.weight.shape[1] > FEW_FEATURES or len(head.classes) > FEW_FEATURES:
        return []
    lines = []
    for name, row in zip(head.classes, head.weight, strict=True):
        lines.append(Line(f"Σ w², {name}", "squares(w)", {"w": as_tuple(row)}))
        lines.append(Line(f"Σ |w|, {name}", "sizes(w)", {"w": as_tuple(row)}))
    return lines


def _objective_step(head: Head, penalty: float, loss: float | None) -> list[Step]:
    lines = []
    total = None
    if loss is not None:
        numbers = {"loss": loss, "R": penalty}
        total = Line("objective of this sample", "loss + R", numbers)
        if total.value > 0 and np.isfinite(total.value):
            lines.append(Line("penalty's share of it", "R / (loss + R)", numbers))
    if head.objective is not None and head.objective > 0:
        numbers = {"R": penalty, "F": head.objective}
        lines.append(Line("penalty's share in training", "R / F", numbers, "F is the mean loss of all rows plus R"))
    if not lines and total is None:
        return []
    meaning = "Training minimises the mean loss plus the penalty; losses that are logarithms are in nats."
    return [Step("objective", "The penalty's share of the objective", "F = ℓ + R", tuple(lines), total, meaning)]
