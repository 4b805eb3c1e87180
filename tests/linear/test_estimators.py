"""What the estimators promise a user: inputs, weights, errors, warnings, memory, and scikit-learn's manners."""

from __future__ import annotations

import pickle
import tracemalloc
import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris

import crosshead.linear.training as training
from crosshead.engines import has_native
from crosshead.linear import (
    ConvergenceWarning,
    LinearClassifier,
    LinearClassifierCV,
    LogisticRegression,
    regularisation_path,
)
from crosshead.linear.out_of_fold import out_of_fold_probabilities
from crosshead.losses import LOSSES, Softmax, get_loss

ENGINES = ["reference", pytest.param("native", marks=pytest.mark.skipif(not has_native(), reason="not built"))]
WITHOUT_PROBABILITIES = [name for name in LOSSES if not get_loss(name).has_probabilities]


def data(rows: int = 121, columns: int = 5, classes: int = 3, spread: float = 1.0) -> tuple[Any, Any]:
    random = np.random.default_rng(1)
    y = np.arange(rows) % classes
    return random.normal(size=(rows, columns)) + spread * np.eye(classes, columns)[y], y


class TestWeights:
    @pytest.mark.parametrize("name", LOSSES)
    def test_a_weight_is_a_repetition(self, name: str) -> None:
        X, y = data(60)
        counts = np.random.default_rng(2).integers(0, 4, 60)
        again = np.repeat(np.arange(60), counts)
        options: dict[str, Any] = {"alpha": 0.01, "tol": 1e-6}
        weighted = LinearClassifier(name, **options).fit(X, y, counts)
        repeated = LinearClassifier(name, **options).fit(X[again], y[again])
        assert weighted.objective_ == pytest.approx(repeated.objective_, rel=2e-6)
        np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=2e-2)
        if weighted._loss().smooth:
            tight: dict[str, Any] = {"alpha": 0.01, "tol": 1e-11}
            weighted, repeated = (
                LinearClassifier(name, **tight).fit(X, y, counts),
                LinearClassifier(name, **tight).fit(X[again], y[again]),
            )
            np.testing.assert_allclose(weighted.coef_, repeated.coef_, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("estimator", [LinearClassifier(tol=1e-10), LogisticRegression(tol=1e-10)], ids=str)
    def test_a_weight_of_zero_removes_the_row_and_the_class(self, estimator: Any) -> None:
        X, y = data()
        labels = np.array(["ant", "bee", "cow"])[y]
        removed = clone(estimator).fit(X[y != 1], labels[y != 1])
        weightless = clone(estimator).fit(X, labels, sample_weight=(y != 1).astype(float))
        assert weightless.classes_.tolist() == removed.classes_.tolist() == ["ant", "cow"]
        np.testing.assert_allclose(weightless.coef_, removed.coef_, rtol=1e-5, atol=1e-7)
        assert set(weightless.predict(X)) <= {"ant", "cow"}
        by_class = clone(estimator).set_params(class_weight={"bee": 0.0}).fit(X, labels)
        np.testing.assert_allclose(by_class.coef_, removed.coef_, rtol=1e-5, atol=1e-7)

    def test_class_weights_multiply_sample_weights(self) -> None:
        X, y = data()
        s = np.random.default_rng(3).uniform(size=len(y))
        one = LinearClassifier(class_weight={0: 2.0, 2: 0.5}, tol=1e-10).fit(X, y, s)
        other = LinearClassifier(tol=1e-10).fit(X, y, s * np.array([2.0, 1.0, 0.5])[y])
        np.testing.assert_array_equal(one.coef_, other.coef_)

    def test_balanced_classes_have_the_same_total(self) -> None:
        X, y = data()
        keep = (y != 0) | (np.arange(len(y)) < 30)
        X, y = X[keep], y[keep]
        s = np.random.default_rng(3).uniform(size=len(y))
        totals = np.bincount(y, weights=s)
        balanced = LinearClassifier(class_weight="balanced", tol=1e-10).fit(X, y, s)
        explicit = LinearClassifier(tol=1e-10).fit(X, y, s / totals[y])
        np.testing.assert_allclose(balanced.coef_, explicit.coef_, rtol=1e-6, atol=1e-9)

    def test_wrong_weights(self) -> None:
        X, y = data()
        with pytest.raises(ValueError, match="must not be negative, but row 7 has -1"):
            LinearClassifier().fit(X, y, np.where(np.arange(len(y)) == 7, -1.0, 1.0))
        with pytest.raises(ValueError, match="zero"):
            LinearClassifier().fit(X, y, np.zeros(len(y)))
        with pytest.raises(ValueError, match="NaN"):
            LinearClassifier().fit(X, y, np.full(len(y), np.nan))
        with pytest.raises(ValueError, match="label 9"):
            LinearClassifier(class_weight={9: 1.0}).fit(X, y)
        with pytest.raises(ValueError, match="class_weight must be"):
            LinearClassifier(class_weight="fair").fit(X, y)
        with pytest.raises(ValueError, match="finite and not negative"):
            LinearClassifier(class_weight={0: -1.0}).fit(X, y)


class TestTargets:
    @pytest.mark.parametrize(
        "labels",
        [
            np.array(["no", "maybe", "yes"]),
            np.array(["no", "maybe", "yes"], dtype=object),
            np.array([-7, 3, 2**40]),
            np.array([0.0, 1.0, 2.0]),
            np.array([3, 1, 2], dtype=np.uint8),
        ],
        ids=str,
    )
    def test_labels_of_any_kind(self, labels: Any) -> None:
        X, y = data()
        plain = LinearClassifier().fit(X, y)
        model = LinearClassifier().fit(X, labels[y])
        np.testing.assert_array_equal(model.classes_, np.sort(labels))
        assert model.predict(X).dtype == labels.dtype
        order = np.argsort(labels)
        np.testing.assert_allclose(model.coef_, plain.coef_[order], atol=1e-3)
        assert model.score(X, labels[y]) > 0.6

    @pytest.mark.parametrize(
        "estimator", [LinearClassifier(), LogisticRegression(), LinearClassifier("hinge")], ids=str
    )
    def test_truth_values(self, estimator: Any) -> None:
        X, y = data(classes=2)
        model = clone(estimator).fit(X, y == 1)
        assert model.classes_.dtype == bool
        assert (model.predict(X) == (model.decision_function(X) > 0)).all()

    def test_probabilities(self) -> None:
        """Soft targets of zero and one are labels; others are rows in as many copies as classes, by weight."""
        X, y = data()
        hard = LinearClassifier(alpha=0.01, tol=1e-11).fit(X, y)
        soft = LinearClassifier(alpha=0.01, tol=1e-11).fit(X, np.eye(3)[y])
        np.testing.assert_allclose(soft.coef_, hard.coef_, rtol=1e-5, atol=1e-7)
        assert soft.classes_.tolist() == [0, 1, 2]
        P = np.random.default_rng(4).dirichlet(np.ones(3), size=len(X))
        soft = LinearClassifier(alpha=0.01, tol=1e-11).fit(X, P)
        copies = LinearClassifier(alpha=0.01, tol=1e-11).fit(
            np.repeat(X, 3, axis=0), np.tile(np.arange(3), len(X)), P.ravel()
        )
        np.testing.assert_allclose(soft.coef_, copies.coef_, rtol=1e-4, atol=1e-6)

    def test_label_smoothing_is_a_soft_target(self) -> None:
        X, y = data()
        smoothed = LinearClassifier(Softmax(label_smoothing=0.3), alpha=0.01, tol=1e-11).fit(X, y)
        soft = LinearClassifier(alpha=0.01, tol=1e-11).fit(X, 0.7 * np.eye(3)[y] + 0.1)
        np.testing.assert_allclose(smoothed.coef_, soft.coef_, rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize("engine", ENGINES)
    def test_rows_that_are_no_probabilities(self, engine: str) -> None:
        X, y = data()
        wrong = np.full((len(y), 3), 0.5)
        with pytest.raises(ValueError, match=r"sums to 1\.5, not to 1"):
            LinearClassifier(engine=engine).fit(X, wrong)
        with pytest.raises(ValueError, match=r"outside \[0, 1\]"):
            LinearClassifier("binary", engine=engine).fit(X, 3 * wrong)
        with pytest.raises(ValueError, match="needs class labels"):
            LinearClassifier("hinge", engine=engine).fit(X, np.eye(3)[y])
        with pytest.raises(ValueError, match="class_weight needs class labels"):
            LinearClassifier(class_weight="balanced", engine=engine).fit(X, np.eye(3)[y])

    @pytest.mark.parametrize("engine", ENGINES)
    def test_several_labels_a_row(self, engine: str) -> None:
        """Columns of zeros and ones: one logistic regression a column."""
        X, _ = data()
        Y = np.random.default_rng(5).integers(0, 2, size=(len(X), 3))
        model = LinearClassifier("binary", alpha=0.01, tol=1e-9, engine=engine).fit(X, Y)
        for k in range(3):
            single = LogisticRegression(C=1 / (0.01 * len(X)), tol=1e-11).fit(X, Y[:, k])
            np.testing.assert_allclose(model.coef_[k], single.coef_[0], atol=2e-4)

    @pytest.mark.parametrize("engine", ENGINES)
    def test_real_targets_of_the_squared_error(self, engine: str) -> None:
        X, _ = data()
        Y = np.random.default_rng(6).normal(size=(len(X), 3)) - 4
        model = LinearClassifier("squared_error", alpha=0.1, tol=1e-10, engine=engine).fit(X, Y)
        x, t = X.mean(axis=0), Y.mean(axis=0)
        G = (X - x).T @ (X - x) / len(X)
        W = np.linalg.solve(2 * G + 0.1 * np.eye(5), 2 * (X - x).T @ (Y - t) / len(X)).T
        assert model.status_ == "converged"
        np.testing.assert_allclose(model.coef_, W, atol=1e-5)

    @pytest.mark.parametrize("estimator", [LinearClassifier(), LogisticRegression()], ids=str)
    def test_wrong_targets(self, estimator: Any) -> None:
        X, y = data()
        with pytest.raises(ValueError, match="at least 2 classes"):
            clone(estimator).fit(X, np.zeros(len(y), dtype=int))
        with pytest.raises(ValueError, match="Unknown label type"):
            clone(estimator).fit(X, y + 0.5)
        with pytest.raises(ValueError, match="NaN"):
            clone(estimator).fit(np.where(np.arange(5) == 2, np.nan, X), y)
        with pytest.raises(ValueError, match="infinity"):
            clone(estimator).fit(np.where(np.arange(5) == 2, np.inf, X), y)
        with pytest.raises(ValueError, match="inconsistent"):
            clone(estimator).fit(X, y[:-1])


class TestPredictions:
    @pytest.mark.parametrize("name", LOSSES)
    @pytest.mark.parametrize("dtype", [np.float64, np.float32])
    def test_probabilities_and_labels_agree_with_scores(self, name: str, dtype: Any) -> None:
        X, y = data()
        X = X.astype(dtype)
        model = LinearClassifier(name, alpha=0.01).fit(X, y)
        scores = model.decision_function(X)
        np.testing.assert_allclose(scores, X @ model.coef_.T + model.intercept_, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(model.predict(X), scores.argmax(axis=1))
        if name in WITHOUT_PROBABILITIES:
            assert not hasattr(model, "predict_proba")
            assert not hasattr(model, "predict_log_proba")
            return
        P = model.predict_proba(X)
        np.testing.assert_allclose(P.sum(axis=1), 1, atol=1e-6)
        assert (P >= 0).all()
        np.testing.assert_array_equal(P.argmax(axis=1), model.predict(X))
        np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), P, rtol=1e-5)

    @pytest.mark.parametrize("name", WITHOUT_PROBABILITIES)
    def test_no_probabilities_says_why(self, name: str) -> None:
        with pytest.raises(AttributeError, match="predict_proba"):
            LinearClassifier(name).predict_proba

    def test_blocks_change_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        X, y = data()
        model = LinearClassifier().fit(X, y)
        methods = (model.predict, model.decision_function, model.predict_proba)
        whole = [method(X) for method in methods]
        monkeypatch.setattr("crosshead.linear.prediction.BLOCK_SCORES", 20)
        for method, expected in zip(methods, whole, strict=True):
            np.testing.assert_array_equal(method(X), expected)

    @pytest.mark.skipif(not has_native(), reason="the reference engine converts blocks")
    def test_predictions_do_not_hold_all_scores(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("crosshead.linear.prediction.BLOCK_SCORES", 1 << 16)
        X = np.random.default_rng(0).normal(size=(40000, 4))
        model = LinearClassifier(max_iter=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(X[:300], np.arange(300) % 150)
        peak = peak_bytes(lambda: model.predict(X))
        assert peak < 40000 * 150 * 8 / 10


def peak_bytes(work: Any) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class TestMemory:
    @pytest.mark.skipif(not has_native(), reason="the reference engine converts blocks")
    @pytest.mark.parametrize("dtype", [np.float64, np.float32])
    @pytest.mark.parametrize("order", ["C", "F"])
    def test_features_are_not_copied(self, dtype: Any, order: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        X, y = data(4000, 100)
        X = np.array(X, dtype=dtype, order=order)
        seen = []

        def spy(name: str, of: Any, *others: Any) -> Any:
            seen.append(of.features)
            return original(name, of, *others)

        original = training.make_engine
        monkeypatch.setattr(training, "make_engine", spy)
        LinearClassifier(alpha=0.1).fit(X, y)
        assert np.shares_memory(seen[-1], X)
        monkeypatch.undo()
        if order == "C":
            assert peak_bytes(lambda: LinearClassifier(alpha=0.1).fit(X, y)) < X.nbytes / 2

    def test_read_only_and_mapped_features(self, tmp_path: Any) -> None:
        X, y = data()
        np.save(tmp_path / "X.npy", X)
        mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
        model = LinearClassifier(tol=1e-8).fit(X, y)
        np.testing.assert_array_equal(LinearClassifier(tol=1e-8).fit(mapped, y).coef_, model.coef_)
        np.testing.assert_array_equal(model.predict(mapped), model.predict(X))

    def test_nothing_given_is_changed(self) -> None:
        X, y = data()
        s = np.ones(len(y))
        kept = X.copy(), y.copy(), s.copy()
        LinearClassifier(class_weight="balanced").fit(X, y, s)
        for given, before in zip((X, y, s), kept, strict=True):
            np.testing.assert_array_equal(given, before)

    def test_a_model_keeps_no_data(self) -> None:
        X, y = data(3000, 50)
        model = LinearClassifier(alpha=0.1).fit(X, y)
        assert len(pickle.dumps(model)) < X.nbytes / 10


class TestManners:
    def test_pandas(self) -> None:
        pandas = pytest.importorskip("pandas")
        X, y = data()
        frame = pandas.DataFrame(X, columns=["a", "b", "c", "d", "e"])
        labels = pandas.Series(y).map({0: "x", 1: "y", 2: "z"})
        model = LinearClassifier().fit(frame, labels)
        assert model.feature_names_in_.tolist() == ["a", "b", "c", "d", "e"]
        assert model.n_features_in_ == 5
        np.testing.assert_allclose(model.coef_, LinearClassifier().fit(X, y).coef_, rtol=1e-9)  # other memory order
        with pytest.raises(ValueError, match="feature names"):
            model.predict(frame[["b", "a", "c", "d", "e"]])
        probabilities = pandas.DataFrame(np.eye(3)[y])
        np.testing.assert_allclose(LinearClassifier().fit(frame, probabilities).coef_, model.coef_, atol=1e-3)

    @pytest.mark.parametrize(
        "estimator",
        [LinearClassifier("hinge", alpha=0.01), LinearClassifier(Softmax(0.1)), LogisticRegression()],
        ids=str,
    )
    def test_clone_and_pickle(self, estimator: Any) -> None:
        X, y = data()
        before = estimator.get_params()
        model = clone(estimator).fit(X, y)
        assert {k: v for k, v in model.get_params().items() if k in before} == before  # fit changes no parameter
        again = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(again.predict(X), model.predict(X))
        assert again.history_ == model.history_
        fresh = clone(model)
        assert not hasattr(fresh, "coef_")
        assert fresh.get_params() == before

    @pytest.mark.parametrize("engine", ENGINES)
    def test_the_same_every_time(self, engine: str) -> None:
        X, y = data()
        models = [LinearClassifier(engine=engine).fit(X, y) for _ in range(2)]
        np.testing.assert_array_equal(models[0].coef_, models[1].coef_)
        if engine == "native":
            other = LinearClassifier(engine=engine, n_threads=1).fit(X, y)
            np.testing.assert_array_equal(models[0].coef_, other.coef_)

    def test_the_warning_carries_the_gap(self) -> None:
        X, y = data()
        with pytest.warns(ConvergenceWarning) as caught:
            model = LinearClassifier(alpha=1e-5, tol=1e-9, max_iter=2).fit(X, y)
        text = str(caught[0].message)
        assert len(caught) == 1
        assert f"{model.gap_:.2e}" in text
        assert "1.00e-09" in text
        assert "max_iter" in text
        assert caught[0].filename == __file__  # it points at the call of fit
        assert (model.status_, model.n_iter_) == ("max_iter", 2)
        assert model.gap_ > 1e-9
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            LinearClassifier(alpha=1e-2).fit(X, y)

    def test_warm_start(self) -> None:
        X, y = data(spread=0.5)
        model = LinearClassifier(alpha=1e-4, tol=1e-8, warm_start=True).fit(X, y)
        cold = model.n_passes_
        assert model.fit(X, y).n_passes_ < cold
        afresh = LinearClassifier(alpha=9e-5, tol=1e-8).fit(X, y)
        assert model.set_params(alpha=9e-5).fit(X, y).n_passes_ < afresh.n_passes_
        model.fit(X[:, :3], y)  # another shape starts afresh
        assert model.coef_.shape == (3, 3)
        model.set_params(fit_intercept=False).fit(X[:, :3], y)
        assert not model.intercept_.any()

    def test_callback_and_verbose(self, capsys: pytest.CaptureFixture[str]) -> None:
        X, y = data()
        seen: list[Any] = []
        with pytest.warns(ConvergenceWarning, match="callback"):
            model = LinearClassifier(
                alpha=1e-6, tol=1e-9, verbose=1, callback=lambda p: seen.append(p) or p.iteration == 2
            ).fit(X, y)
        lines = capsys.readouterr().err.splitlines()
        assert model.status_ == "stopped"
        assert len(lines) == len(seen) == 3
        assert model.history_[:-1] == seen
        for line, progress in zip(lines, seen, strict=True):
            assert f"{progress.objective:.8f}" in line
            assert f"gap {progress.gap:.2e}" in line

    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"alpha": -1.0}, "alpha must be"),
            ({"alpha": np.nan}, "alpha must be"),
            ({"alpha": "1"}, "alpha must be"),
            ({"l1_ratio": 1.5}, "l1_ratio must lie"),
            ({"tol": -1.0}, "tol must be"),
            ({"tol": np.inf}, "tol must be"),
            ({"max_iter": 0}, "max_iter must be"),
            ({"max_iter": 2.5}, "max_iter must be"),
            ({"max_time": -1}, "max_time must be"),
            ({"loss": "softmaxx"}, "unknown loss 'softmaxx'"),
            ({"engine": "gpu"}, "unknown engine 'gpu'"),
            ({"n_threads": 0}, "n_threads must not be 0"),
        ],
        ids=str,
    )
    def test_wrong_parameters(self, parameters: dict[str, Any], message: str) -> None:
        if parameters == {"n_threads": 0} and not has_native():
            pytest.skip("the reference engine has no threads")
        with pytest.raises(ValueError, match=message):
            LinearClassifier(**parameters).fit(*data())


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("seed", range(3))
def test_columns_of_any_scale(name: str, seed: int) -> None:
    X, y = load_iris(return_X_y=True)
    X = X * 10 ** np.random.default_rng(seed).uniform(-3, 3, X.shape[1])
    model = LinearClassifier(name, alpha=1e-3).fit(X, y)
    assert model.status_ == "converged"
    assert model.n_iter_ < 200


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_both_engines_fit_the_same(name: str, dtype: Any) -> None:
    if not has_native():
        pytest.skip("the native engine is not built")
    X, y = data()
    native, reference = (
        LinearClassifier(name, alpha=0.01, tol=1e-6, engine=engine).fit(X.astype(dtype), y)
        for engine in ("native", "reference")
    )
    assert native.status_ == reference.status_ == "converged"
    assert native.objective_ == pytest.approx(reference.objective_, rel=2e-6)
    assert native.coef_.dtype == np.float64


@pytest.mark.parametrize("wrong", ["no", 1, None, 0.0])
def test_a_truth_value_is_nothing_else(wrong: Any) -> None:
    """ "no" and "False" would count as true."""
    X, y = data(30)
    for estimator, names in (
        (LinearClassifier, ["fit_intercept", "warm_start"]),
        (LinearClassifierCV, ["fit_intercept", "one_standard_error"]),
        (LogisticRegression, ["fit_intercept", "warm_start", "dual"]),
    ):
        for name in names:
            with pytest.raises(ValueError, match=f"^{name} must be True or False, not {wrong!r}$"):
                estimator(**{name: wrong}).fit(X, y)
    for function, name in (
        (regularisation_path, "fit_intercept"),
        (regularisation_path, "keep_coef"),
        (out_of_fold_probabilities, "fit_intercept"),
    ):
        with pytest.raises(ValueError, match=f"^{name} must be True or False"):
            function(X, y, **{name: wrong})
    assert not LinearClassifier(fit_intercept=np.False_).fit(X, y).intercept_.any()
