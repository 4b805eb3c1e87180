"""Cross-validation, against folds that are cut out, fitted and scored by hand."""

from __future__ import annotations

import tracemalloc
import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold
from sklearn.utils.estimator_checks import parametrize_with_checks

from crosshead.linear import ConvergenceWarning, LinearClassifier, LinearClassifierCV
from crosshead.linear.classifier_cv import select_index

ALPHAS = [1e-1, 1e-2, 1e-3]


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return (X[:500] / 16), y[:500]


@parametrize_with_checks(
    [
        LinearClassifierCV(alphas=3, cv=2),
        LinearClassifierCV("squared_hinge", alphas=ALPHAS, cv=2),
        LinearClassifierCV(alphas=ALPHAS, cv=2, l1_ratio=0.5, one_standard_error=True),
    ]
)
def test_estimator_check(estimator, check):
    check(estimator)


@pytest.mark.parametrize("cv", [3, KFold(3, shuffle=True, random_state=1)])
def test_scores_are_those_of_fits_on_the_rows_cut_out(digits, cv):
    X, y = digits
    model = LinearClassifierCV(alphas=ALPHAS, cv=cv, tol=1e-9).fit(X, y)
    splits = (StratifiedKFold(cv) if isinstance(cv, int) else cv).split(X, y)
    for fold, (train, test) in enumerate(splits):
        for index, alpha in enumerate(ALPHAS):
            by_hand = LinearClassifier(alpha=alpha, tol=1e-9).fit(X[train], y[train])
            expected = log_loss(y[test], by_hand.predict_proba(X[test]))
            assert model.scores_[fold, index] == pytest.approx(-expected, rel=1e-4)
            measured = model.folds_[fold].measures
            assert measured.error[index] == pytest.approx(1 - by_hand.score(X[test], y[test]), abs=1e-12)
    assert all(status == "converged" for fold in model.folds_ for status in fold.status)


def test_balanced_weights_are_those_of_the_folds_own_rows(digits):
    X, y = digits
    splits = list(StratifiedKFold(2).split(X, y))
    model = LinearClassifierCV(alphas=[1e-2], cv=splits, class_weight="balanced", tol=1e-9).fit(X, y)
    for fold, (train, test) in enumerate(splits):
        by_hand = LinearClassifier(alpha=1e-2, class_weight="balanced", tol=1e-9).fit(X[train], y[train])
        expected = -log_loss(y[test], by_hand.predict_proba(X[test]))
        assert model.scores_[fold, 0] == pytest.approx(expected, rel=1e-4)


def test_the_final_fit_is_that_of_all_rows(digits):
    X, y = digits
    model = LinearClassifierCV(alphas=ALPHAS, cv=3).fit(X, y)
    direct = LinearClassifier(alpha=model.alpha_, tol=1e-8).fit(X, y)
    assert model.alphas_[model.best_index_] == model.alpha_
    assert model.objective_ - direct.objective_ <= model.gap_ * model.objective_ + 1e-12
    assert (model.status_, model.path_.certified) == ("converged", True)
    np.testing.assert_array_equal(model.coef_, model.path_.coef[model.best_index_])
    assert model.scores_.shape == (3, 3)
    np.testing.assert_array_equal(model.mean_scores_, model.scores_.mean(axis=0))
    assert model.total_passes_ > model.path_.passes.sum()


@pytest.mark.parametrize(("loss", "scoring"), [("hinge", None), ("softmax", "accuracy"), ("squared_hinge", "neg_loss")])
def test_scorings(digits, loss, scoring):
    X, y = digits[0][:200], digits[1][:200]
    model = LinearClassifierCV(loss, alphas=[0.1, 0.01], cv=2, scoring=scoring, tol=1e-7).fit(X, y)
    train, test = next(StratifiedKFold(2).split(X, y))
    by_hand = LinearClassifier(loss, alpha=0.01, tol=1e-7).fit(X[train], y[train])
    if scoring == "neg_loss":
        z = by_hand.decision_function(X[test])
        over = np.maximum(z - z[np.arange(len(test)), y[test]][:, None] + 1, 0)
        expected = -((over**2).sum(axis=1) - 1).mean()
    else:
        expected = by_hand.score(X[test], y[test])
    assert model.scores_[0, 1] == pytest.approx(expected, rel=2e-3)


def test_one_standard_error_by_hand():
    scores = np.array([[0.70, 0.84, 0.90, 0.86], [0.74, 0.92, 0.86, 0.90], [0.72, 0.87, 0.91, 0.89]])
    mean, error = scores.mean(axis=0), scores.std(axis=0, ddof=1) / np.sqrt(3)
    # means .72, .8767, .89, .8833; the best one's standard error is √(.0007)/√3 = .01528, so .8747 is enough
    assert error[2] == pytest.approx(0.015275, abs=1e-6)
    assert select_index(mean, error, False) == 2
    assert select_index(mean, error, True) == 1


def test_the_rule_is_applied(digits):
    X, y = digits
    best = LinearClassifierCV(alphas=10, cv=4).fit(X, y)
    simple = LinearClassifierCV(alphas=10, cv=4, one_standard_error=True).fit(X, y)
    np.testing.assert_array_equal(best.scores_, simple.scores_)
    enough = best.mean_scores_.max() - best.std_scores_[best.best_index_] / 2
    expected = next(alpha for alpha, mean in zip(best.alphas_, best.mean_scores_, strict=True) if mean >= enough)
    assert simple.alpha_ == expected >= best.alpha_


def test_probabilities_as_targets():
    chance = np.random.default_rng(0)
    X = chance.normal(size=(90, 3))
    soft = chance.dirichlet(np.ones(3), size=90)
    model = LinearClassifierCV(alphas=[0.1, 0.01], cv=3, tol=1e-9).fit(X, soft)
    train, test = next(KFold(3).split(X))
    by_hand = LinearClassifier(alpha=0.1, tol=1e-9).fit(X[train], soft[train])
    expected = (soft[test] * by_hand.predict_log_proba(X[test])).sum(axis=1).mean()
    assert model.scores_[0, 0] == pytest.approx(expected, rel=1e-4)


def test_words_as_labels_and_rows_drawn_twice():
    X, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    rows = np.arange(0, 150, 2)
    splits = [(np.concatenate([rows, rows[:30]]), np.arange(1, 150, 2))]
    model = LinearClassifierCV(alphas=[0.1], cv=splits, tol=1e-9).fit(X, names)
    by_hand = LinearClassifier(alpha=0.1, tol=1e-9).fit(X[splits[0][0]], names[splits[0][0]])
    expected = -log_loss(names[1::2], by_hand.predict_proba(X[1::2]))
    assert model.scores_[0, 0] == pytest.approx(expected, rel=1e-4)
    assert set(model.predict(X)) <= set(names)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scoring": "r2"}, "scoring must be"),
        ({"loss": "hinge", "scoring": "neg_log_loss"}, "no probabilities"),
        ({"cv": [(np.arange(100), np.arange(100, 150))]}, "no training row of class 2"),
        ({"cv": [(np.arange(150), np.array([], dtype=int))]}, "fold 1 has no rows to measure"),
        ({"alphas": []}, "alphas must be"),
        ({"l1_ratio": 2.0}, "l1_ratio must lie"),
    ],
)
def test_refusals(options, words):
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match=words):
        LinearClassifierCV(**options).fit(X, y)


def test_features_are_not_copied_for_any_fold():
    chance = np.random.default_rng(0)
    X = chance.normal(size=(100_000, 40)).astype(np.float32)
    y = (X[:, 0] > 0).astype(int)
    tracemalloc.start()
    LinearClassifierCV(alphas=[1e-1, 1e-2], cv=3, n_threads=1).fit(X, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.6 * X.nbytes  # a block of held-out rows and some numbers a row; three copies would be 3 ×


def test_time_is_for_all_fits_together(digits):
    X, y = digits
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LinearClassifierCV(alphas=20, cv=3, max_time=0.0).fit(X, y)
    assert model.total_passes_ < 100
    assert np.isfinite(model.scores_).all()


def test_an_alpha_without_certificates_is_not_chosen(digits):
    """The smallest alpha fits best here, but its fits are ended after few iterations."""
    X, y = digits

    def stop(progress):
        return False

    with pytest.warns(
        ConvergenceWarning, match=r"1 of 3 alphas have fits that are not certified \(alpha 1e-08: all rows"
    ):
        model = LinearClassifierCV(
            alphas=[1e-1, 1e-2, 1e-8], cv=3, max_iter=25, scoring="accuracy", tol=1e-6, callback=stop
        ).fit(X, y)
    statuses = np.array([model.path_.status, *(fold.status for fold in model.folds_)])
    assert (statuses[:, :2] == "converged").all()
    assert "max_iter" in statuses[:, 2]
    assert model.alpha_ == 1e-2
    assert model.status_ == "converged"


def test_where_no_alpha_has_a_certificate_the_scores_decide(digits):
    X, y = digits
    with pytest.warns(ConvergenceWarning, match="alpha is chosen by scores of uncertified fits"):
        model = LinearClassifierCV(alphas=[1e-3, 1e-8], cv=3, max_iter=1, tol=1e-9).fit(X, y)
    assert model.alpha_ in (1e-3, 1e-8)


@pytest.mark.parametrize(("now", "walks", "until"), [(0.0, 4, 10.0), (4.0, 3, 16.0), (30.0, 2, 35.0), (45.0, 1, 45.0)])
def test_each_path_has_its_share_of_the_time_left(now, walks, until, monkeypatch):
    monkeypatch.setattr("time.perf_counter", lambda: now)
    assert LinearClassifierCV(max_time=40.0)._deadline(0.0, walks) == until
    assert LinearClassifierCV()._deadline(0.0, walks) is None


def test_a_class_that_weighs_nothing_is_left_out():
    X, y = load_iris(return_X_y=True)
    kept = y != 1
    folds = [(np.arange(150) % 3 != k, np.arange(150) % 3 == k) for k in range(3)]
    splits = [(np.flatnonzero(train), np.flatnonzero(test)) for train, test in folds]
    model = LinearClassifierCV(alphas=ALPHAS, cv=splits, class_weight={1: 0}, tol=1e-9).fit(X, y)
    renumbered = np.cumsum(kept) - 1
    fewer = [(renumbered[train[kept[train]]], renumbered[test[kept[test]]]) for train, test in splits]
    truth = LinearClassifierCV(alphas=ALPHAS, cv=fewer, tol=1e-9).fit(X[kept], y[kept])
    np.testing.assert_array_equal(model.classes_, [0, 2])
    np.testing.assert_allclose(model.scores_, truth.scores_, rtol=1e-6)
    np.testing.assert_allclose(model.coef_, truth.coef_, rtol=1e-4, atol=1e-6)


def test_groups_stay_together():
    X, y = load_iris(return_X_y=True)
    groups = np.arange(150) // 3 % 10
    splits = list(GroupKFold(3).split(X, y, groups))
    given = LinearClassifierCV(alphas=ALPHAS, cv=GroupKFold(3)).fit(X, y, groups=groups)
    truth = LinearClassifierCV(alphas=ALPHAS, cv=splits).fit(X, y)
    np.testing.assert_array_equal(given.scores_, truth.scores_)


def test_ctrl_c_chooses_nothing(digits):
    def interrupt(progress):
        if progress.iteration == 2:
            raise KeyboardInterrupt

    model = LinearClassifierCV(alphas=3, cv=2, callback=interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.fit(*digits)
    assert not hasattr(model, "coef_")
