"""scikit-learn estimators."""

from crosshead.linear.classifier import LinearClassifier
from crosshead.linear.logistic_regression import LogisticRegression
from crosshead.linear.warnings import ConvergenceWarning

__all__ = ["ConvergenceWarning", "LinearClassifier", "LogisticRegression"]
