"""Problems at the edge of double precision, and damaged input: an honest status or one clear line, never a crash."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_digits

from crosshead.engines import TrainingData, has_native
from crosshead.linear import LinearClassifier, LinearClassifierCV, LogisticRegression, regularisation_path
from crosshead.losses import Softmax
from crosshead.models import Model


def separable(rows: int = 60) -> Any:
    chance = np.random.default_rng(0)
    y = chance.integers(0, 3, rows)
    return chance.normal(size=(rows, 4)) + 6 * np.eye(3, 4)[y], y


@pytest.mark.parametrize("loss", ["hinge", "crammer_singer"])
@pytest.mark.parametrize("alpha", [0.0, 1e-10, 1e-7])
def test_hinges_with_next_to_no_penalty_end_honestly(loss: str, alpha: float) -> None:
    X, y = separable()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = LinearClassifier(loss, alpha=alpha).fit(X, y)
    assert (model.status_ == "converged") == (model.gap_ <= 1e-4)
    assert np.isfinite(model.coef_).all()


@pytest.mark.parametrize("alpha", [1e-7, 1e-10, 1e-13])
def test_a_gap_that_rounding_could_hide_is_not_called_zero(alpha: float) -> None:
    """Scores of size 20 are rounded to 4e-15; an objective of 1e-8 cannot be certified to 1e-12 of itself."""
    X, y = separable()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = LinearClassifier(alpha=alpha, tol=1e-12).fit(X, y)
    size = float(np.abs(X @ model.coef_.T).mean())
    assert model.gap_ >= np.finfo(np.float64).eps * size / model.objective_ / 4


@pytest.mark.skipif(not has_native(), reason="the native engine was not built")
@pytest.mark.parametrize("index", [500_000_000, -1, 3])
def test_a_damaged_sparse_matrix_is_refused(index: int) -> None:
    X = sparse.csr_matrix(np.eye(6, 3))
    X.indices[1] = index
    with pytest.raises(ValueError, match=r"damaged|column index|indices"):
        LinearClassifier().fit(X, [0, 1, 0, 1, 0, 1])


def test_only_csr_among_the_sparse_formats() -> None:
    with pytest.raises(ValueError, match="CSR, not CSC"):
        TrainingData(sparse.csc_matrix(np.eye(3)), np.zeros(3, dtype=np.int32), 2)


@pytest.mark.parametrize("parameters", [{"n_threads": 1.5}, {"l1_ratio": "a"}, {"alpha": "b"}, {"l1_ratio": 2.0}])
def test_parameters_of_the_wrong_kind_are_named(parameters: Any) -> None:
    X, y = separable()
    with pytest.raises(ValueError, match=next(iter(parameters))):
        LinearClassifier(**parameters).fit(X, y)


def rare_features(rows: int = 3000, common: int = 20, rare: int = 25) -> Any:
    """Standardised columns, of which some are constant but for one to five rows, and of size 25 to 55 there."""
    chance = np.random.default_rng(3)
    X = chance.normal(size=(rows, common + rare))
    X[:, common:] = 0
    for column in range(common, common + rare):
        X[chance.choice(rows, size=int(chance.integers(1, 6)), replace=False), column] = chance.uniform(0.5, 1)
    y = np.argmax(X[:, :4] + chance.gumbel(size=(rows, 4)), axis=1)
    return ((X - X.mean(axis=0)) / X.std(axis=0)).astype(np.float32), y


@pytest.mark.parametrize("loss", ["softmax", "binary", "squared_hinge"])
def test_rare_features_do_not_stall_a_fit(loss: str) -> None:
    """Steps along them were once measured by curvature that had vanished, and cut short by the line search for ever."""
    X, y = rare_features()
    model = LinearClassifier(loss, alpha=1 / len(X), tol=1e-4).fit(X, y)
    assert model.status_ == "converged"
    assert model.n_passes_ < 200


@pytest.mark.parametrize("decades", [1, 2])
def test_the_scale_of_a_column_costs_few_passes(decades: int) -> None:
    X, y = rare_features(rare=0)
    scale = 10 ** np.random.default_rng(0).uniform(-decades, decades, X.shape[1])
    plain, scaled = (LinearClassifier(alpha=1 / len(X), tol=1e-4).fit(Z.astype(np.float32), y) for Z in (X, X * scale))
    assert scaled.status_ == "converged"
    assert scaled.n_passes_ <= 3 * plain.n_passes_ + 10


def test_probabilities_rounded_to_single_precision_are_certified():
    """Sums of 1 ± 1e-7 left the loss without a minimum, and the gap at 1e-5 however long one fitted."""
    random = np.random.default_rng(0)
    X, P = random.normal(size=(40, 3)), random.dirichlet(np.ones(4), size=40)
    exact = LinearClassifier(alpha=1e-3, tol=1e-9).fit(X, P)
    for rounded in (P.astype(np.float32), P * (1 + 9e-7), P * (1 - 9e-7)):
        model = LinearClassifier(alpha=1e-3, tol=1e-9).fit(X, rounded)
        assert model.status_ == "converged"
        assert model.objective_ == pytest.approx(exact.objective_, rel=1e-6)
    path = regularisation_path(X, P.astype(np.float32), [1e-2, 1e-3], tol=1e-9)
    assert path.certified
    with pytest.raises(ValueError, match=r"row 0 sums to 1\.01"):
        LinearClassifier().fit(X, 1.01 * P)


@pytest.mark.parametrize("estimator", [LinearClassifier, LogisticRegression, LinearClassifierCV])
@pytest.mark.parametrize("factor", [1e308, 5e-324])
def test_weights_whose_sum_cannot_be_divided_by_are_refused(estimator: Any, factor: float) -> None:
    X, y = separable()
    with pytest.raises(ValueError, match="weights of the rows add up to"):
        estimator().fit(X, y, np.full(len(y), factor))
    with pytest.raises(ValueError, match="weights of the rows add up to"):
        estimator(class_weight=dict.fromkeys(np.unique(y), factor)).fit(X, y)


@pytest.mark.parametrize(
    "parameters",
    [
        {"loss": None},
        {"loss": Softmax},
        {"loss": "SOFTMAX"},
        {"tol": 1.0},
        {"n_threads": "a"},
        {"n_threads": np.nan},
        {"n_threads": 10**20},
        {"class_weight": {0: "a"}},
        {"class_weight": {0: None}},
    ],
)
def test_what_no_fit_can_use_is_named(parameters: Any) -> None:
    X, y = separable()
    with pytest.raises(ValueError, match=next(iter(parameters)).replace("_", "[_ ]")):
        LinearClassifier(**parameters).fit(X, y)


def test_masked_values_are_no_numbers() -> None:
    X, y = separable()
    with pytest.raises(ValueError, match="masked values"):
        LinearClassifier().fit(np.ma.masked_greater(X, 1.0), y)
    assert LinearClassifier().fit(np.ma.masked_array(X), y).status_ == "converged"


def test_no_folds_at_all() -> None:
    X, y = separable()
    with pytest.raises(ValueError, match="no folds"):
        LinearClassifierCV(alphas=2, cv=[]).fit(X, y)


def test_labels_of_a_data_frame_keep_their_type(tmp_path: Path) -> None:
    """scikit-learn makes floats of pandas' Int64 and boolean; strings arrive as Python objects."""
    pandas = pytest.importorskip("pandas")
    X, y = separable()
    for labels, kind in [(y, "Int64"), (y > 0, "boolean"), (np.array(["no", "yes"])[y % 2], "string")]:
        model = LinearClassifier(alpha=1e-2).fit(X, pandas.Series(labels, dtype=kind))
        assert [str(label) for label in model.classes_] == [str(label) for label in np.unique(labels)]
        Model(model.coef_, model.intercept_, model.classes_, "softmax").save(tmp_path / kind)
        np.testing.assert_array_equal(Model.load(tmp_path / kind).classes, np.unique(labels))


@pytest.mark.parametrize(("dtype", "size"), [(np.float32, 1e18), (np.float64, 1e160)])
@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
def test_features_whose_squares_overflow_are_refused(dtype: Any, size: float, storage: Any) -> None:
    X, y = separable()
    vast = storage((X * size).astype(dtype))
    for estimator in (LinearClassifier(), LinearClassifierCV(alphas=2, cv=2), LogisticRegression()):
        with pytest.raises(ValueError, match=rf"features reach .*their squares overflow {dtype.__name__}"):
            estimator.fit(vast, y)


@pytest.mark.parametrize(("dtype", "size"), [(np.float32, 1e14), (np.float64, 1e148), (np.float32, 1e-30)])
def test_large_and_small_features_overflow_nowhere(dtype: Any, size: float) -> None:
    X, y = separable()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="not certified")
        for loss in ("softmax", "hinge", "squared_error"):
            for l1_ratio in (0.0, 0.5):
                model = LinearClassifier(loss, l1_ratio=l1_ratio, max_iter=50).fit((X * size).astype(dtype), y)
                assert np.isfinite(model.objective_)


@pytest.mark.parametrize("loss", ["softmax", "binary"])
@pytest.mark.parametrize("every", [1, 12])
def test_given_probabilities_with_a_class_that_never_occurs(loss: str, every: int) -> None:
    """Its best bias is infinite; what mixing would make of the bound is nothing."""
    X, y = load_digits(return_X_y=True)
    X, y = X[::every, :: 1 if every == 1 else 8] / 16, y[::every]
    model = LinearClassifier(loss, alpha=1e-3, tol=1e-5).fit(X, np.eye(11)[y])
    assert model.status_ == "converged"
    fewer = LinearClassifier(loss, alpha=1e-3, tol=1e-5).fit(X, np.eye(10)[y])
    assert model.objective_ == pytest.approx(fewer.objective_, rel=3e-5)


@pytest.mark.parametrize("every", [1, 12])
def test_a_binary_column_that_is_always_one(every: int) -> None:
    X, y = load_digits(return_X_y=True)
    X, target = X[::every, :: 1 if every == 1 else 8] / 16, np.eye(10)[y[::every]]
    target[:, 3] = 1
    assert LinearClassifier("binary", alpha=1e-3, tol=1e-5).fit(X, target).status_ == "converged"
