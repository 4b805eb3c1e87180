"""No false certificate on small problems whose columns and weights are of very different scale.

Values are computed again in extended precision. What lies below them is sought by SciPy: L-BFGS-B on the float64
objective with W = P − N, hinges smoothed until hardly anything is; and HiGHS where hinges with L1 are a linear program.
Whatever these find is at or above the optimum, so no bound may be above it. Not every problem is certified, and no
test here asks for that.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from generated_problems import KINDS, GeneratedProblem, realistic, small
from scipy import optimize, sparse, special

from crosshead.engines import TrainingData, make_engine
from crosshead.engines.threads import one_blas_thread
from crosshead.losses import get_loss
from crosshead.objective import Objective
from crosshead.penalties import ElasticNet
from crosshead.solvers import Result, minimise

Long = np.longdouble
BATCHES, EXAMPLES = 6, 10
MAX_ITER, POLISHING = 40, 60
WIDTHS = (1e-3, 1e-6)
MAX_UNKNOWNS = 1500  # of a linear program


def rows_of_targets(problem: GeneratedProblem) -> Any:
    return np.eye(problem.n_classes)[problem.target]


def violations(Z: Any, T: Any) -> Any:
    return np.where(T > 0, 0, 1 + Z - (T * Z).sum(axis=1)[:, None])


def exact_value(problem: GeneratedProblem, point: Any) -> Any:
    """F at a point (W, then b), in extended precision from the textbook formulas."""
    C, D = problem.n_classes, problem.X.shape[1]
    W, b = point[: C * D].reshape(C, D).astype(Long), point[C * D :].astype(Long)
    Z = problem.X.astype(Long) @ W.T + b
    T = rows_of_targets(problem).astype(Long)
    s = np.ones(len(Z), dtype=Long) if problem.weight is None else problem.weight.astype(Long)
    if problem.loss == "softmax":
        top = Z.max(axis=1)
        loss = top + np.log(np.exp(Z - top[:, None]).sum(axis=1)) - (T * Z).sum(axis=1)
    elif problem.loss == "binary":
        loss = (np.maximum(Z, 0) + np.log1p(np.exp(-np.abs(Z))) - T * Z).sum(axis=1)
    elif problem.loss == "squared_error":
        loss = ((Z - T) ** 2).sum(axis=1)
    else:
        m = np.maximum(violations(Z, T), 0)
        loss = {"hinge": m.sum(axis=1), "squared_hinge": (m**2).sum(axis=1), "crammer_singer": m.max(axis=1)}[
            problem.loss
        ]
    alpha, ratio = Long(problem.alpha), Long(problem.l1_ratio)
    return (s * loss).sum() / s.sum() + alpha * (ratio * np.abs(W).sum() + (1 - ratio) / 2 * (W**2).sum())


def smoothed_loss(name: str, Z: Any, T: Any, width: float) -> tuple[Any, Any]:
    """Loss and gradient of each row; kinks are rounded off over ``width``."""
    if name == "softmax":
        return special.logsumexp(Z, axis=1) - (T * Z).sum(axis=1), special.softmax(Z, axis=1) - T
    if name == "binary":
        return (np.logaddexp(0, Z) - T * Z).sum(axis=1), special.expit(Z) - T
    if name == "squared_error":
        return ((Z - T) ** 2).sum(axis=1), 2 * (Z - T)
    m = violations(Z, T)
    if name == "crammer_singer":
        r = special.softmax(m / width, axis=1) * (1 - T)
        loss = width * special.logsumexp(m / width, axis=1)
    elif name == "hinge":
        r = np.clip(m / width, 0, 1)
        loss = (r * m - width / 2 * r**2).sum(axis=1)
    else:
        r = 2 * np.maximum(m, 0)
        loss = (r**2 / 4).sum(axis=1)
    return loss, r - T * r.sum(axis=1)[:, None]


def polished(problem: GeneratedProblem, start: Any, width: float) -> Any:
    """A point from which L-BFGS-B gets no further soon, in columns of unit size."""
    C, D = problem.n_classes, problem.X.shape[1]
    k, T = C * D, rows_of_targets(problem)
    X = problem.X.astype(np.float64)
    size = np.sqrt((X**2).mean(axis=0))
    size = np.where(size > 0, size, 1)
    X, each = X / size, np.tile(size, C)
    s = np.ones(len(X)) if problem.weight is None else problem.weight
    s = s / s.sum()
    l1, l2 = problem.alpha * problem.l1_ratio / each, problem.alpha * (1 - problem.l1_ratio) / each**2

    def function(v: Any) -> tuple[float, Any]:
        W = v[:k] - v[k : 2 * k]
        loss, r = smoothed_loss(problem.loss, X @ W.reshape(C, D).T + v[2 * k :], T, width)
        r *= s[:, None]
        G = (r.T @ X).ravel() + l2 * W
        value = s @ loss + l1 @ (v[:k] + v[k : 2 * k]) + l2 @ W**2 / 2
        bias = r.sum(axis=0) if problem.fit_intercept else np.zeros(C)
        return float(value), np.concatenate([G + l1, l1 - G, bias])

    scaled = start[:k] * each
    v = np.concatenate([np.maximum(scaled, 0), np.maximum(-scaled, 0), start[k:]])
    bounds = [(0, None)] * (2 * k) + [(None, None)] * C
    options = {"ftol": 1e-15, "gtol": 1e-12, "maxiter": POLISHING, "maxcor": 20}
    v = optimize.minimize(function, v, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    return np.concatenate([(v[:k] - v[k : 2 * k]) / each, v[2 * k :]])


def program(problem: GeneratedProblem) -> Any:
    """The optimum of a hinge with L1 alone, by HiGHS, in columns of unit size; None where that would take long."""
    C, D, n = problem.n_classes, problem.X.shape[1], len(problem.target)
    together = problem.loss == "crammer_singer"
    slacks = n if together else n * (C - 1)
    if problem.l1_ratio < 1 or problem.loss not in ("hinge", "crammer_singer") or 2 * C * D + slacks > MAX_UNKNOWNS:
        return None
    X = problem.X.astype(np.float64)
    size = np.sqrt((X**2).mean(axis=0))
    size = np.where(size > 0, size, 1)
    row, other = np.nonzero(rows_of_targets(problem) == 0)
    choice = np.eye(C)[other] - np.eye(C)[problem.target[row]]  # z_other − z_own = choice · z
    weights = (choice[:, :, None] * (X / size)[row][:, None, :]).reshape(len(row), C * D)
    charged = -sparse.csr_array((np.ones(len(row)), (np.arange(len(row)), row if together else np.arange(len(row)))))
    A = sparse.hstack([sparse.csr_array(np.hstack([weights, -weights, choice])), charged], format="csr")
    s = np.ones(n) if problem.weight is None else problem.weight
    l1 = np.tile(problem.alpha / np.tile(size, C), 2)
    share = s / s.sum()
    cost = np.concatenate([l1, np.zeros(C), share if together else share[row]])
    free = (None, None) if problem.fit_intercept else (0, 0)
    bounds = [(0, None)] * (2 * C * D) + [free] * C + [(0, None)] * slacks
    v = optimize.linprog(cost, A, np.full(len(row), -1.0), bounds=bounds).x
    if v is None:
        return None
    k = C * D
    return np.concatenate([(v[:k] - v[k : 2 * k]) / np.tile(size, C), v[2 * k : 2 * k + C]])


def solved(problem: GeneratedProblem, tol: float) -> Result:
    data = TrainingData(problem.X, problem.target, problem.n_classes, problem.weight)
    penalty = ElasticNet(problem.alpha, problem.l1_ratio)
    loss = get_loss(problem.loss)
    objective = Objective(make_engine("auto", data), loss, penalty, fit_intercept=problem.fit_intercept)
    return minimise(objective, np.zeros(objective.size), tol=tol, max_iter=MAX_ITER)


@pytest.mark.parametrize("batch", range(BATCHES))
def test_no_certificate_is_false(batch: int) -> None:
    with one_blas_thread():
        for seed in range(batch * EXAMPLES, (batch + 1) * EXAMPLES):
            check(small(seed), tol=(1e-4, 1e-4, 1e-7)[seed % 3])


def check(problem: GeneratedProblem, tol: float) -> None:
    result = solved(problem, tol)
    value = exact_value(problem, result.point)
    points, here = [program(problem)], result.point
    for width in (0.0,) if get_loss(problem.loss).smooth else WIDTHS:
        here = polished(problem, here, width)
        points.append(here)
    lowest = min([value, *(exact_value(problem, point) for point in points if point is not None)])
    said = f"{problem.description}: {result.status}, value {value}, lowest {lowest}, bound {result.bound}"
    terms = float(np.abs(problem.X.astype(np.float64)).max(axis=0, initial=0) @ _largest(problem, result.point))
    rounding = 1e-12 * float(value) + 1e-15 * (1 + terms)
    assert result.bound <= lowest * (1 + Long(1e-15)), said
    assert abs(result.value - value) <= rounding, said
    assert (result.status == "converged") == (result.gap <= tol), said
    assert value - lowest <= result.gap * abs(value) + rounding, said


def _largest(problem: GeneratedProblem, point: Any) -> Any:
    C, D = problem.n_classes, problem.X.shape[1]
    return np.abs(point[: C * D].reshape(C, D)).max(axis=0)


@pytest.mark.parametrize("kind", KINDS)
def test_generated_problems_are_what_they_say(kind: str) -> None:
    for seed in range(3):
        one, other = realistic(kind, seed), realistic(kind, seed)
        assert one.description == other.description
        assert (one.X != other.X).sum() == 0
        n, D = one.X.shape
        assert n <= 3000
        assert D <= 1000
        assert one.target.shape == (n,)
        assert np.bincount(one.target).min() >= 1
        assert one.n_classes >= 2
        assert 1e-8 <= one.alpha_rows <= 1e3
        assert one.weight is None or (one.weight > 0).all()
