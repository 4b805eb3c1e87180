"""Newton steps on the support between proximal ones: the same optimum, certified, in a fraction of the passes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

from crosshead import losses
from crosshead.engines import TrainingData, make_engine
from crosshead.linear import LinearClassifier
from crosshead.linear.path import regularisation_path
from crosshead.objective import Objective
from crosshead.penalties import ElasticNet
from crosshead.solvers import minimise
from crosshead.solvers.loop import minimise_with
from crosshead.solvers.methods.primal_dual import PrimalDual
from crosshead.solvers.methods.proximal_newton import ProximalNewton
from crosshead.solvers.methods.sparse_newton import SparseNewton

SMOOTH = ["softmax", "binary", "squared_hinge", "squared_error"]


def rows(seed: int, shape: tuple[int, int, int], *, as_sparse: bool = False, dtype: Any = np.float64) -> TrainingData:
    """Neighbouring features are alike, and some say something of the class; some rows have weight zero."""
    n, columns, classes = shape
    random = np.random.default_rng(seed)
    X = random.normal(size=(n, columns))
    for column in range(1, columns):
        X[:, column] += 0.8 * X[:, column - 1]
    if as_sparse:
        X *= random.uniform(size=X.shape) < 0.3
    W = np.where(random.uniform(size=(classes, columns)) < 0.3, 1.0, 0.0)
    y = (X @ W.T + random.gumbel(size=(n, classes))).argmax(axis=1).astype(np.int32)
    X = X.astype(dtype)
    weight = random.integers(0, 3, size=n).astype(np.float64)
    return TrainingData(sparse.csr_matrix(X) if as_sparse else X, y, classes, weight)


def objective(data: TrainingData, loss: str, alpha: float, l1_ratio: float, fit_intercept: bool = True) -> Objective:
    penalty = ElasticNet(alpha, l1_ratio)
    return Objective(make_engine("auto", data), losses.get_loss(loss), penalty, fit_intercept=fit_intercept)


@pytest.mark.parametrize("loss", SMOOTH)
@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
@pytest.mark.parametrize("as_sparse", [False, True], ids=["dense", "sparse"])
def test_the_optimum_is_that_of_another_method(loss: str, l1_ratio: float, as_sparse: bool) -> None:
    of = objective(rows(1, (301, 23, 4), as_sparse=as_sparse), loss, 0.004, l1_ratio, fit_intercept=not as_sparse)
    start = np.zeros(of.size)
    ours = minimise_with(SparseNewton(), of, start, tol=1e-9, max_iter=500)
    other = minimise_with(ProximalNewton(), of, start, tol=1e-9, max_iter=500)
    assert ours.status == other.status == "converged"
    assert ours.bound <= other.value
    assert other.bound <= ours.value <= other.value * (1 + 1e-9)
    assert 0 < np.count_nonzero(of.unpack(ours.point)[0]) < 4 * 23


def test_scikit_learn_has_the_same_optimum() -> None:
    """Of two classes, whose weights by saga are the difference of ours; the L1 norm of both is then the same."""
    from sklearn.linear_model import LogisticRegression

    data = rows(2, (151, 19, 2))
    X, y, alpha = data.features, data.target, 0.01
    peer = LogisticRegression(l1_ratio=1.0, C=1 / (alpha * len(y)), solver="saga", tol=1e-10, max_iter=100000)
    peer.fit(X, y)
    ours = LinearClassifier(alpha=alpha, l1_ratio=1.0, tol=1e-10).fit(X, y)
    np.testing.assert_allclose(ours.coef_[1] - ours.coef_[0], peer.coef_[0], atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_takes_a_fraction_of_the_passes(dtype: Any) -> None:
    of = objective(rows(3, (3001, 60, 6), dtype=dtype), "softmax", 1e-4, 1.0)
    start = np.zeros(of.size)
    ours = minimise_with(SparseNewton(), of, start, tol=1e-4, max_iter=500)
    other = minimise_with(PrimalDual(), of, start, tol=1e-4, max_iter=2000)
    assert ours.status == other.status == "converged"
    assert ours.passes < 0.6 * other.passes


def test_the_subgradient_vanishes_at_its_end() -> None:
    of = objective(rows(4, (501, 31, 3)), "softmax", 0.002, 1.0)
    end = minimise_with(SparseNewton(), of, np.zeros(of.size), tol=1e-12, max_iter=500)
    here = of.evaluate(end.point)
    weight, gradient = of.unpack(here.point)[0], of.unpack(here.gradient)[0]
    assert end.status == "converged"
    assert of.penalty.subdifferential_distance(weight, gradient) < 1e-6


def test_a_loss_without_second_order_model_is_left_to_proximal_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    of = objective(rows(5, (301, 23, 3)), "softmax", 0.004, 1.0)
    seeing = minimise_with(SparseNewton(), of, np.zeros(of.size), tol=1e-7, max_iter=500)
    monkeypatch.setattr(Objective, "model", lambda *_, **__: None)
    blind = minimise_with(SparseNewton(), of, np.zeros(of.size), tol=1e-7, max_iter=2000)
    assert blind.status == seeing.status == "converged"
    assert blind.value == pytest.approx(seeing.value, rel=1e-7)
    data = of.engine.data
    path = regularisation_path(data.features, data.target, 4, l1_ratio=1.0, sample_weight=data.sample_weight)
    assert path.certified


@pytest.mark.parametrize("shape", [(40, 3, 2), (1, 1, 2), (9, 2, 5)])
def test_few_rows_and_classes_without_any(shape: tuple[int, int, int]) -> None:
    random = np.random.default_rng(6)
    X, y = random.normal(size=shape[:2]), np.zeros(shape[0], dtype=np.int32)
    of = objective(TrainingData(X, y, shape[2]), "softmax", 0.01, 0.9, fit_intercept=False)
    assert minimise(of, np.zeros(of.size), tol=1e-6).status == "converged"


def test_copies_of_a_column_and_constants() -> None:
    data = rows(7, (201, 12, 3), dtype=np.float32)
    X = np.column_stack([data.features, data.features[:, :5], np.ones((201, 2), dtype=np.float32)])
    whole = LinearClassifier(alpha=0.005, l1_ratio=1.0, tol=1e-7).fit(X, data.target)
    alone = LinearClassifier(alpha=0.005, l1_ratio=1.0, tol=1e-7).fit(data.features, data.target)
    assert whole.status_ == alone.status_ == "converged"
    assert whole.objective_ == pytest.approx(alone.objective_, rel=2e-7)


@pytest.mark.parametrize("as_sparse", [False, True], ids=["dense", "sparse"])
def test_the_same_bits_for_any_number_of_threads(as_sparse: bool) -> None:
    data = rows(8, (700, 40, 4), as_sparse=as_sparse, dtype=np.float32)
    fits = [
        LinearClassifier(alpha=0.001, l1_ratio=1.0, n_threads=threads).fit(data.features, data.target)
        for threads in (1, 2, 3)
    ]
    for fit in fits[1:]:
        np.testing.assert_array_equal(fit.coef_, fits[0].coef_)


@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
def test_a_path_costs_a_few_fits(l1_ratio: float) -> None:
    data = rows(9, (2003, 120, 5), dtype=np.float32)
    weight = data.sample_weight
    path = regularisation_path(data.features, data.target, 20, l1_ratio=l1_ratio, sample_weight=weight)
    hardest = LinearClassifier(alpha=path.alphas[-1], l1_ratio=l1_ratio)
    hardest.fit(data.features, data.target, sample_weight=weight)
    assert path.certified
    assert path.passes.sum() < 10 * hardest.n_passes_
    for index in (7, 19):
        alone = LinearClassifier(alpha=path.alphas[index], l1_ratio=l1_ratio, tol=1e-8)
        alone.fit(data.features, data.target, sample_weight=weight)
        assert alone.objective_ * (1 - 1e-8) <= path.objective[index] <= alone.objective_ * (1 + 1.1e-4)
