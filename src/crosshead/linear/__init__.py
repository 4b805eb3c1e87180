"""scikit-learn estimators: linear classifiers fitted to a certified optimum, and regularisation paths."""

from crosshead.linear.classifier import LinearClassifier
from crosshead.linear.classifier_cv import LinearClassifierCV
from crosshead.linear.logistic_regression import LogisticRegression
from crosshead.linear.out_of_fold import out_of_fold_probabilities
from crosshead.linear.path import Path, regularisation_path
from crosshead.linear.training import ConvergenceWarning

__all__ = [
    "ConvergenceWarning",
    "LinearClassifier",
    "LinearClassifierCV",
    "LogisticRegression",
    "Path",
    "out_of_fold_probabilities",
    "regularisation_path",
]
