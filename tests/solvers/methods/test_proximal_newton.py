"""Proximal Newton over working sets: the same optimum as without, certified on all features."""

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
from crosshead.solvers.costs import is_wide
from crosshead.solvers.loop import minimise_with
from crosshead.solvers.methods import proximal_newton
from crosshead.solvers.methods.primal_dual import PrimalDual
from crosshead.solvers.methods.proximal_newton import ProximalNewton, working_set

SMOOTH = ["softmax", "binary", "squared_hinge", "squared_error"]


def rows(seed: int, shape: tuple[int, int, int], *, as_sparse: bool = False, dtype: Any = np.float64) -> TrainingData:
    """Neighbouring features are alike, and some say something of the class."""
    n, columns, classes = shape
    random = np.random.default_rng(seed)
    X = random.normal(size=(n, columns))
    X[:, 1:] += 0.8 * X[:, :-1]
    if as_sparse:
        X *= random.uniform(size=X.shape) < 0.2
    W = np.where(random.uniform(size=(classes, columns)) < 0.1, 2.0, 0.0)
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
def test_with_a_working_set_the_optimum_is_that_of_all_weights(loss: str, l1_ratio: float, as_sparse: bool) -> None:
    of = objective(rows(1, (37, 61, 3), as_sparse=as_sparse), loss, 0.03, l1_ratio, fit_intercept=not as_sparse)
    start = np.zeros(of.size)
    newton = minimise_with(ProximalNewton(), of, start, tol=1e-9, max_iter=500)
    quasi = minimise_with(PrimalDual(), of, start, tol=1e-7, max_iter=5000)
    assert newton.status == "converged"
    assert quasi.status == "converged"
    assert newton.bound <= quasi.value
    assert quasi.bound <= newton.value <= quasi.value + 1e-7 * quasi.value
    assert 0 < np.count_nonzero(of.unpack(newton.point)[0]) < 3 * 61


def test_a_set_of_one_weight_at_a_time_loses_none(monkeypatch: pytest.MonkeyPatch) -> None:
    of = objective(rows(2, (23, 40, 2)), "binary", 0.02, 1.0)  # softmax may move weights from class to class
    whole = minimise_with(ProximalNewton(), of, np.zeros(of.size), tol=1e-10, max_iter=500)
    monkeypatch.setattr(proximal_newton, "MIN_SET", 1)
    monkeypatch.setattr(proximal_newton, "GROWTH", 0.0)
    single = minimise_with(ProximalNewton(), of, np.zeros(of.size), tol=1e-10, max_iter=500)
    assert single.status == whole.status == "converged"
    assert single.iterations > whole.iterations
    np.testing.assert_allclose(of.unpack(single.point)[0], of.unpack(whole.point)[0], atol=1e-4)


def test_the_set_holds_what_is_not_zero_and_the_largest_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proximal_newton, "MIN_SET", 3)
    monkeypatch.setattr(proximal_newton, "GROWTH", 1.0)
    of = objective(rows(3, (19, 30, 2)), "softmax", 0.01, 1.0)
    point = np.zeros(of.size)
    point[[4, 33]] = 1.0
    here = of.evaluate(point)
    chosen = working_set(of, here)
    size = np.abs(of.unpack(here.gradient)[0].ravel())
    outside = np.setdiff1d(np.arange(60), chosen)
    assert {4, 33} <= set(chosen.tolist())
    assert len(chosen) == 7
    assert size[outside].max() <= size[np.setdiff1d(chosen, [4, 33])].min()


def test_it_is_chosen_where_features_are_many() -> None:
    assert is_wide(objective(rows(4, (19, 30, 2)), "softmax", 0.01, 1.0).facts)
    assert not is_wide(objective(rows(4, (30, 19, 2)), "softmax", 0.01, 1.0).facts)
    of = objective(rows(4, (19, 700, 2)), "softmax", 0.01, 1.0)
    chosen, forced = (
        minimise(of, np.zeros(of.size)),
        minimise_with(ProximalNewton(), of, np.zeros(of.size), tol=1e-4, max_iter=99),
    )
    assert chosen.point.tolist() == forced.point.tolist()


@pytest.mark.parametrize("as_sparse", [False, True], ids=["dense", "sparse"])
def test_the_same_bits_for_any_number_of_threads(as_sparse: bool) -> None:
    data = rows(5, (50, 400, 3), as_sparse=as_sparse, dtype=np.float32)
    fits = [
        LinearClassifier(alpha=0.02, l1_ratio=1.0, n_threads=threads).fit(data.features, data.target)
        for threads in (1, 2, 3)
    ]
    for fit in fits[1:]:
        np.testing.assert_array_equal(fit.coef_, fits[0].coef_)


def test_many_classes_whose_curvature_grows_along_the_step() -> None:
    """From uniform probabilities a Newton step for a rare word is far too long; its model has to be made steeper."""
    classes = 40
    random = np.random.default_rng(6)
    y = np.arange(200) % classes
    X = sparse.hstack(
        [sparse.csr_matrix(np.eye(classes)[y]), sparse.random(200, 300, 0.02, random_state=random)], format="csr"
    )
    fit = LinearClassifier(alpha=1e-4, l1_ratio=1.0, tol=1e-6).fit(X, y)
    assert fit.status_ == "converged"
    assert fit.n_passes_ < 150
    assert (fit.predict(X) == y).all()


def test_scikit_learn_has_the_same_optimum() -> None:
    """Of two classes, whose weights by saga are the difference of ours; the L1 norm of both is then the same."""
    from sklearn.linear_model import LogisticRegression

    data = rows(7, (40, 90, 2))
    X, y = data.features, data.target
    alpha = 0.05
    peer = LogisticRegression(l1_ratio=1.0, C=1 / (alpha * len(y)), solver="saga", tol=1e-10, max_iter=100000)
    peer.fit(X, y)
    ours = LinearClassifier(alpha=alpha, l1_ratio=1.0, tol=1e-10).fit(X, y)
    np.testing.assert_allclose(ours.coef_[1] - ours.coef_[0], peer.coef_[0], atol=1e-5)


def test_a_path_over_many_features_is_certified_at_every_alpha() -> None:
    data = rows(8, (45, 300, 3), dtype=np.float32)
    path = regularisation_path(data.features, data.target, 9, l1_ratio=1.0, tol=1e-5)
    assert path.certified
    for index in (3, 8):
        alone = LinearClassifier(alpha=path.alphas[index], l1_ratio=1.0, tol=1e-8).fit(data.features, data.target)
        assert alone.objective_ * (1 - 1.1e-8) <= path.objective[index] <= alone.objective_ * (1 + 1.1e-5)
