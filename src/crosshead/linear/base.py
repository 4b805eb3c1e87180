"""Predictions of fitted estimators: scores, labels and probabilities, in row blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from crosshead.linear.prediction import all_scores, predicted_indices
from crosshead.losses.protocol import Array, Float, Loss
from crosshead.sparse_structure import require_structure

FEATURE_TYPES = [np.float64, np.float32]


def _has_probabilities(estimator: Any) -> bool:
    loss = estimator._loss()
    if not loss.has_probabilities:
        raise AttributeError(
            f"the loss {loss.name!r} has no probability model; use loss='softmax' or 'binary', or "
            "decision_function for scores"
        )
    return True


class LinearScores(ClassifierMixin, BaseEstimator):
    """Base class: predictions of a fitted linear classifier with `coef_`, `intercept_` and `classes_`.

    Subclasses define the loss, `_loss`, and the weight (C, D) and bias (C,) of the score columns, `_parameters`; a
    single column scores the second of two classes.
    """

    classes_: Array

    def _loss(self) -> Loss:
        raise NotImplementedError

    def _parameters(self) -> tuple[Float, Float]:
        raise NotImplementedError

    def _scores(self, X: Any) -> Array:
        check_is_fitted(self)
        return all_scores(*self._parameters(), self._checked(X), **self._engine_options())

    def _engine_options(self) -> dict[str, Any]:
        return {}

    def _checked(self, X: Any) -> Any:
        require_structure(X)
        return validate_data(self, X, accept_sparse="csr", dtype=FEATURE_TYPES, reset=False)

    def decision_function(self, X: Any) -> Array:
        """Compute scores z = W x + b, (N, C); for two classes z₁ − z₀, (N,), positive for the second class."""
        scores = self._scores(X)
        if len(self.classes_) > 2:
            return scores
        return scores[:, 0] if scores.shape[1] == 1 else scores[:, 1] - scores[:, 0]

    def predict(self, X: Any) -> Array:
        """Predict the label with the highest score for each row, (N,). Memory does not grow with N × C."""
        check_is_fitted(self)
        weight, bias = self._parameters()
        if len(bias) == 1:
            return self.classes_[(self.decision_function(X) > 0).astype(np.intp)]
        return self.classes_[predicted_indices(weight, bias, self._checked(X), **self._engine_options())]

    @available_if(_has_probabilities)
    def predict_proba(self, X: Any) -> Array:
        """Compute class probabilities, (N, C), for losses with a probability model; rows sum to 1."""
        probabilities = np.asarray(self._loss().predict_proba(self._scores(X)))
        if probabilities.shape[1] == 1:
            return np.hstack([1 - probabilities, probabilities])
        return probabilities

    @available_if(_has_probabilities)
    def predict_log_proba(self, X: Any) -> Array:
        """Compute the logarithm of `predict_proba` in nats, −inf where a probability is 0."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.predict_proba(X)))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
