"""A path is checked against cold fits of each alpha by itself, and against closed forms."""

from __future__ import annotations

import tracemalloc
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_digits, load_iris

from crosshead.engines import TrainingData, make_engine
from crosshead.engines.caching import CachingEngine
from crosshead.linear import ConvergenceWarning, LinearClassifier, regularisation_path
from crosshead.linear.alphas import best_bias
from crosshead.losses import get_loss
from crosshead.solvers.continuation import extrapolate

SMOOTH = ["softmax", "binary", "squared_hinge", "squared_error"]


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return (X[:600] / 16).astype(np.float32), y[:600]


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    return (X - X.mean(axis=0)) / X.std(axis=0), y


@pytest.mark.parametrize(
    ("loss", "l1_ratio"),
    [
        *((loss, ratio) for loss in SMOOTH for ratio in (0.0, 0.5)),
        *((loss, ratio) for loss in ("hinge", "crammer_singer") for ratio in (0.0, 0.5, 1.0)),
    ],
)
def test_every_point_is_the_optimum_that_a_cold_fit_finds(iris, loss, l1_ratio):
    X, y = iris
    path = regularisation_path(X, y, [0.3, 0.1, 0.03, 0.01], loss=loss, l1_ratio=l1_ratio, tol=1e-5)
    assert path.certified
    assert (path.gap <= 1e-5).all()
    for alpha, objective, gap in zip(path.alphas, path.objective, path.gap, strict=True):
        cold = LinearClassifier(loss, alpha=alpha, l1_ratio=l1_ratio, tol=1e-5).fit(X, y)
        assert objective <= cold.objective_ + gap * objective + 1e-12
        assert cold.objective_ <= objective + cold.gap_ * cold.objective_ + 1e-12


@pytest.mark.parametrize("intercept", [True, False])
def test_the_objective_belongs_to_the_weights(digits, intercept):
    X, y = digits
    path = regularisation_path(X, y, [1e-2, 1e-3], l1_ratio=0.25, fit_intercept=intercept)
    for index, alpha in enumerate(path.alphas):
        W, b = path.coef[index], path.intercepts[index]
        z = X.astype(np.float64) @ W.T + b
        loss = np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(y)), y]
        penalty = alpha * (0.25 * np.abs(W).sum() + 0.375 * (W**2).sum())
        assert path.objective[index] == pytest.approx(loss.mean() + penalty, rel=1e-12)
        assert path.nnz[index] == np.count_nonzero(W)
    assert path.intercepts.any() == intercept


@pytest.mark.parametrize("loss", SMOOTH)
@pytest.mark.parametrize("l1_ratio", [1.0, 0.4])
@pytest.mark.parametrize("intercept", [True, False])
def test_the_grid_begins_where_the_weights_vanish(iris, loss, l1_ratio, intercept):
    X, y = iris[0] + 1.0, iris[1]
    options = {"loss": loss, "l1_ratio": l1_ratio, "fit_intercept": intercept, "tol": 1e-7, "max_iter": 5000}
    strongest = regularisation_path(X, y, 1, **options).alphas[0]
    cold = {"alpha": 1.001 * strongest, **options}
    assert not LinearClassifier(cold.pop("loss"), **cold).fit(X, y).coef_.any()
    path = regularisation_path(X, y, [strongest, 0.98 * strongest, 0.9 * strongest], **options)
    assert path.nnz[0] == 0
    assert path.nnz[2] > 0


def test_the_strongest_alpha_by_hand(iris):
    X, y = iris[0][:120], iris[1][:120]
    frequency = np.bincount(y) / len(y)
    gradient = (frequency - np.eye(3)[y]).T @ X / len(X)
    path = regularisation_path(X, y, 2, l1_ratio=0.5)
    assert path.alphas[0] == pytest.approx(np.abs(gradient).max() / 0.5, rel=2e-6)
    assert path.alphas[1] == pytest.approx(1e-4 * path.alphas[0], rel=1e-12)


def test_the_best_bias_gives_the_class_frequencies(iris):
    y = np.repeat([0, 1, 2], [20, 30, 100]).astype(np.int32)
    bias = best_bias(TrainingData(iris[0], y, 3), get_loss("softmax"), True)
    np.testing.assert_allclose(np.exp(bias) / np.exp(bias).sum(), [2 / 15, 3 / 15, 10 / 15], rtol=1e-9)


def test_the_ridge_grid_follows_the_scale_of_the_features(iris):
    X, y = iris
    small, large = (regularisation_path(scale * X, y, 3, loss="squared_error") for scale in (1.0, 8.0))
    np.testing.assert_allclose(large.alphas, 64 * small.alphas, rtol=1e-6)
    np.testing.assert_allclose(large.objective, small.objective, rtol=2e-4)
    # B = (2/1)·I for squared error, so that the largest eigenvalue is twice that of the covariance
    assert small.alphas[0] == pytest.approx(2 * np.linalg.eigvalsh(np.cov(X.T, bias=True))[-1], rel=2e-3)


def test_a_path_costs_less_than_its_fits(digits):
    X, y = digits
    path = regularisation_path(X, y, np.geomspace(1e-1, 1e-5, 12))
    cold = [LinearClassifier(alpha=alpha).fit(X, y).n_passes_ for alpha in path.alphas]
    assert path.certified
    assert path.passes.sum() < 0.6 * sum(cold)


def test_fewer_rows_than_features_are_walked_in_the_row_space():
    chance = np.random.default_rng(0)
    X, y = chance.normal(size=(40, 700)), np.arange(40) % 4
    path = regularisation_path(X, y, [1.0, 0.3, 0.1])
    assert path.certified
    assert path.coef.shape == (3, 4, 700)
    for alpha, objective in zip(path.alphas, path.objective, strict=True):
        assert objective == pytest.approx(LinearClassifier(alpha=alpha, tol=1e-7).fit(X, y).objective_, rel=2e-4)


def test_sparse_features_and_weights_are_the_same_problem(digits):
    X, y = digits[0][:200].astype(np.float64), digits[1][:200]
    weight = np.arange(200) % 3
    kept = weight > 0
    options = {"alphas": [1e-2, 1e-3], "tol": 1e-8}
    whole = regularisation_path(sparse.csr_matrix(X), y, sample_weight=weight, **options)
    repeated = regularisation_path(np.repeat(X, weight, axis=0), np.repeat(y, weight), **options)
    dropped = regularisation_path(X[kept], y[kept], sample_weight=weight[kept], **options)
    np.testing.assert_allclose(whole.objective, repeated.objective, rtol=3e-8)
    np.testing.assert_allclose(whole.objective, dropped.objective, rtol=3e-8)


def test_alphas_come_back_in_falling_order(iris):
    path = regularisation_path(*iris, [0.01, 1.0, 0.1, 0.1], keep_coef=False)
    assert path.alphas.tolist() == [1.0, 0.1, 0.01]
    assert path.coef is None
    assert path.intercepts.shape == (3, 3)
    assert len(path) == 3


def test_stopping_leaves_true_gaps(digits):
    X, y = digits
    with pytest.warns(ConvergenceWarning, match="alphas are not certified"):
        path = regularisation_path(X, y, [1e-1, 1e-4, 1e-6], callback=lambda p: p.iteration == 2)
    assert path.status[1:] == ("stopped", "stopped")
    full = regularisation_path(X, y, [1e-1, 1e-4, 1e-6], tol=1e-6, max_iter=5000)
    suboptimality = (path.objective - full.objective) / path.objective
    assert (suboptimality <= path.gap + 1e-6).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        timed = regularisation_path(X, y, 45, max_time=0.0)
    assert len(timed) == 45
    assert timed.passes[1:].sum() == 0
    assert np.isfinite(timed.gap).all()


@pytest.mark.parametrize("alphas", [0, -1, [], [1.0, -0.1], [np.nan], "many"])
def test_alphas_that_make_no_sense_are_refused(iris, alphas):
    with pytest.raises(ValueError, match="alphas must be"):
        regularisation_path(*iris, alphas)


def test_features_are_not_copied():
    chance = np.random.default_rng(0)
    X = chance.normal(size=(200_000, 16)).astype(np.float32)
    y = (X[:, 0] > 0).astype(int)
    regularisation_path(X[:300], y[:300], 1)
    tracemalloc.start()
    regularisation_path(X, y, [1e-1, 1e-2], n_threads=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # labels, weights and a sample of rows, each a number or two a row; a copy of X alone would be 12.8 MB
    assert peak < X.nbytes


def test_the_same_sums_are_not_computed_twice(digits):
    X, y = digits
    engine = CachingEngine(make_engine("auto", TrainingData(X, y.astype(np.int32), 10)))
    W, b, loss = np.full((10, 64), 0.1), np.zeros(10), get_loss("softmax")
    exact = engine.evaluate(W, b, loss)
    found, kept = engine.evaluate(W.copy(), b.copy(), loss, exact=False), exact.gradient.copy()
    exact.weight_gradient[:] = np.nan  # whoever asks may change what it gets
    assert found.loss == exact.loss
    np.testing.assert_array_equal(found.gradient, kept)
    np.testing.assert_array_equal(engine.evaluate(W, b, loss).gradient, kept)
    assert engine.passes == 1
    engine.evaluate(W + 1, b, loss)
    assert engine.passes == 2
    assert engine.evaluate(W + 1, b, get_loss("binary")).loss != exact.loss
    assert engine.passes == 3


def test_the_next_start_lies_on_the_line_through_the_last_two():
    points = [np.array([1.0, 0.0, 3.0]), np.array([2.0, 0.0, 1.0])]
    np.testing.assert_allclose(extrapolate(points, [0.0, -1.0], -2.0), [3, 0, -1])
    np.testing.assert_allclose(extrapolate(points, [0.0, -1.0], -2.0, keep_signs=3), [3, 0, 0])
    np.testing.assert_allclose(extrapolate(points, [0.0, -1.0], -np.inf), points[-1])
