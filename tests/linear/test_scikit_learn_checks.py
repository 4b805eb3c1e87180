"""scikit-learn's own checks of estimators, all of them, with no expected failure."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from crosshead.linear import LinearClassifier, LogisticRegression


@parametrize_with_checks(
    [
        LinearClassifier(),
        LinearClassifier(loss="binary"),
        LinearClassifier(loss="squared_hinge"),
        LinearClassifier(loss="squared_error"),
        LinearClassifier(l1_ratio=0.5),
        LogisticRegression(),
    ]
)
def test_estimator_check(estimator, check):
    check(estimator)
