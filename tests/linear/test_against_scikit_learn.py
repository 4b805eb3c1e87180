"""Fits against scikit-learn's at tight tolerances, and against closed forms."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from scipy import sparse, special
from sklearn import linear_model
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import LinearSVC

from crosshead.linear import LinearClassifier, LogisticRegression

TIGHT = 1e-11


def data(name: str) -> tuple[Any, Any]:
    if name == "binary":
        X, y = load_breast_cancer(return_X_y=True)
    else:
        X, y = load_iris(return_X_y=True)
    return (X - X.mean(axis=0)) / X.std(axis=0), y


def sklearn(**options: Any) -> Any:
    return linear_model.LogisticRegression(tol=1e-12, max_iter=10000, **options)


def fit_quietly(model: Any, *arguments: Any, **options: Any) -> Any:
    """scikit-learn warns where it cannot reach its tolerance, which is why it is compared to a few digits only."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(*arguments, **options)


def weights(y: Any) -> Any:
    return np.random.default_rng(0).uniform(0, 3, size=len(y))


@pytest.mark.parametrize("name", ["binary", "multinomial"])
@pytest.mark.parametrize("C", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_l2(name: str, C: float, weighted: bool, fit_intercept: bool) -> None:
    X, y = data(name)
    s = weights(y) if weighted else None
    ours = LogisticRegression(C=C, tol=TIGHT, fit_intercept=fit_intercept).fit(X, y, s)
    theirs = fit_quietly(sklearn(C=C, fit_intercept=fit_intercept), X, y, s)
    assert ours.status_ == "converged"
    assert ours.coef_.shape == theirs.coef_.shape
    assert ours.intercept_.shape == theirs.intercept_.shape
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-4, atol=1e-5)
    # Only differences between classes' biases have a meaning.
    shift = theirs.intercept_.mean() - ours.intercept_.mean() if name == "multinomial" else 0.0
    np.testing.assert_allclose(ours.intercept_ + shift, theirs.intercept_, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-5)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    scores, expected = (np.atleast_2d(model.decision_function(X)) for model in (ours, theirs))
    np.testing.assert_allclose(np.diff(scores), np.diff(expected), atol=1e-3)


@pytest.mark.parametrize("name", ["binary", "multinomial"])
@pytest.mark.parametrize("kind", ["balanced", "dict"])
@pytest.mark.parametrize("weighted", [False, True])
def test_class_weights(name: str, kind: str, weighted: bool) -> None:
    X, y = data(name)
    keep = np.flatnonzero((y != 0) | (np.arange(len(y)) % 3 == 0))  # out of balance
    X, y = X[keep], y[keep]
    class_weight: Any = "balanced" if kind == "balanced" else {0: 5.0, 1: 0.5}
    s = weights(y) if weighted else None
    ours = LogisticRegression(class_weight=class_weight, tol=TIGHT).fit(X, y, s)
    theirs = fit_quietly(sklearn(class_weight=class_weight), X, y, s)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["binary", "multinomial"])
@pytest.mark.parametrize(("l1_ratio", "C"), [(1.0, 0.05), (1.0, 1.0), (0.5, 0.2)])
def test_l1_and_elastic_net_are_not_worse(name: str, l1_ratio: float, C: float) -> None:
    X, y = data(name)
    ours = LogisticRegression(C=C, l1_ratio=l1_ratio, tol=1e-6).fit(X, y)
    theirs = fit_quietly(
        linear_model.LogisticRegression(C=C, l1_ratio=l1_ratio, solver="saga", tol=1e-9, max_iter=2000), X, y
    )

    def objective(coef: Any, intercept: Any) -> float:
        Z = X @ coef.T + intercept
        Z = np.hstack([np.zeros_like(Z), Z]) if Z.shape[1] == 1 else Z
        loss = special.logsumexp(Z, axis=1) - Z[np.arange(len(y)), y]
        penalty = l1_ratio * np.abs(coef).sum() + (1 - l1_ratio) / 2 * (coef**2).sum()
        return float(loss.mean() + penalty / (C * len(y)))

    mine, other = objective(ours.coef_, ours.intercept_), objective(theirs.coef_, theirs.intercept_)
    assert mine == pytest.approx(ours.objective_, rel=1e-10)
    assert mine <= other * (1 + 1e-6)
    assert mine >= other * (1 - 1e-2)  # saga is slow where C is large
    assert ours.status_ == "converged"
    if C < 0.3:
        assert (ours.coef_ == 0).any()


def test_penalty_names_of_older_versions() -> None:
    X, y = data("multinomial")
    lasso = LogisticRegression(C=0.1, l1_ratio=1.0).fit(X, y)
    np.testing.assert_array_equal(LogisticRegression("l1", C=0.1).fit(X, y).coef_, lasso.coef_)
    ridge = LogisticRegression(C=0.1).fit(X, y)
    np.testing.assert_array_equal(LogisticRegression("l2", C=0.1).fit(X, y).coef_, ridge.coef_)
    with pytest.raises(ValueError, match="penalty must be"):
        LogisticRegression("l3").fit(X, y)
    for C in (0, -1.0, np.nan, "1"):
        with pytest.raises(ValueError, match="C must be"):
            LogisticRegression(C=C).fit(X, y)


@pytest.mark.parametrize("spelling", [{"C": np.inf}, {"penalty": None}])
def test_without_penalty(spelling: dict[str, Any]) -> None:
    random = np.random.default_rng(1)
    X, y = random.normal(size=(300, 4)), random.integers(0, 3, 300)
    with pytest.warns(UserWarning, match="no duality gap exists for alpha = 0"):
        ours = LogisticRegression(tol=1e-8, **spelling).fit(X, y)
    theirs = fit_quietly(sklearn(C=np.inf), X, y)
    assert (ours.status_, ours.gap_) == ("no_certificate", np.inf)
    np.testing.assert_allclose(ours.coef_ - ours.coef_.mean(0), theirs.coef_ - theirs.coef_.mean(0), atol=1e-5)


def test_two_columns_of_softmax_are_one_of_logistic_regression() -> None:
    """For two classes W of softmax is ±w/2: the penalty on both rows is half of that on one, α/2·‖w‖²/2."""
    X, y = data("binary")
    one = LogisticRegression(C=1.0, tol=TIGHT).fit(X, y)
    two = LinearClassifier(alpha=2 / len(y), tol=TIGHT).fit(X, y)
    assert two.coef_.shape == (2, X.shape[1])
    np.testing.assert_allclose(two.coef_[1] - two.coef_[0], one.coef_[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(two.predict_proba(X), one.predict_proba(X), atol=1e-6)
    np.testing.assert_allclose(two.decision_function(X), one.decision_function(X), atol=1e-4)


def test_one_against_the_rest_is_the_binary_loss() -> None:
    X, y = data("multinomial")
    ours = LinearClassifier("binary", alpha=1 / len(y), tol=TIGHT).fit(X, y)
    theirs = fit_quietly(OneVsRestClassifier(sklearn(C=1.0)), X, y)
    coefficients = np.vstack([estimator.coef_ for estimator in theirs.estimators_])
    np.testing.assert_allclose(ours.coef_, coefficients, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("C", [0.01, 1.0])
def test_crammer_singer_is_not_worse_than_liblinear(C: float) -> None:
    X, y = load_digits(return_X_y=True)
    X, y = X[:300] / 16, y[:300]
    theirs = LinearSVC(multi_class="crammer_singer", C=C, fit_intercept=False, tol=1e-8, max_iter=100000)
    fit_quietly(theirs.set_params(random_state=0), X, y)
    alpha = 1 / (C * len(y))
    ours = LinearClassifier("crammer_singer", alpha=alpha, fit_intercept=False, tol=1e-5).fit(X, y)

    def objective(W: Any) -> float:
        Z = X @ W.T
        own = Z[np.arange(len(y)), y]
        Z = Z + 1
        Z[np.arange(len(y)), y] -= 1
        return float((Z.max(axis=1) - own).mean() + alpha / 2 * (W**2).sum())

    assert ours.objective_ == pytest.approx(objective(ours.coef_), rel=1e-10)
    assert ours.objective_ <= objective(theirs.coef_) * (1 + 2e-5)
    assert ours.objective_ >= objective(theirs.coef_) * (1 - 1e-3)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sparsely", [False, True])
def test_squared_error_has_a_closed_form(weighted: bool, sparsely: bool) -> None:
    X, y = data("multinomial")
    s = weights(y) if weighted else np.ones(len(y))
    alpha, share, T = 0.03, s / s.sum(), np.eye(3)[y]
    x, t = share @ X, share @ T
    G = (share[:, None] * (X - x)).T @ (X - x)
    W = np.linalg.solve(2 * G + alpha * np.eye(X.shape[1]), 2 * (share[:, None] * (X - x)).T @ (T - t)).T
    model = LinearClassifier("squared_error", alpha=alpha, tol=1e-12)
    model.fit(sparse.csr_matrix(X) if sparsely else X, y, s)
    np.testing.assert_allclose(model.coef_, W, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(model.intercept_, t - W @ x, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_few_rows_and_many_features(fit_intercept: bool, dtype: Any) -> None:
    random = np.random.default_rng(2)
    X, y = random.normal(size=(40, 300)).astype(dtype), random.integers(0, 3, 40)
    ours = LogisticRegression(C=0.5, tol=1e-8, fit_intercept=fit_intercept).fit(X, y)
    theirs = fit_quietly(sklearn(C=0.5, fit_intercept=fit_intercept), X.astype(np.float64), y)
    assert ours.status_ == "converged"
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=5e-5)


def test_sparse_and_dense_features_give_the_same_fit() -> None:
    random = np.random.default_rng(3)
    X = random.normal(size=(200, 30)) * (random.uniform(size=(200, 30)) < 0.2)
    y = random.integers(0, 4, 200)
    dense = LogisticRegression(tol=TIGHT).fit(X, y)
    for store in (sparse.csr_matrix, sparse.csc_matrix, sparse.coo_array):
        model = LogisticRegression(tol=TIGHT).fit(store(X), y)
        np.testing.assert_allclose(model.coef_, dense.coef_, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(model.predict_proba(store(X)), dense.predict_proba(X), atol=1e-7)
