"""A drop-in replacement for scikit-learn's LogisticRegression, solved to a certified optimum."""

from __future__ import annotations

from typing import Any, final

import numpy as np
from sklearn.utils.validation import _check_sample_weight

from crosshead.engines import TrainingData
from crosshead.linear.base import LinearScores
from crosshead.linear.classifier import check_budget, check_flags, check_number, checked_training_data, seed_of
from crosshead.linear.training import train
from crosshead.linear.validation import Prepared, prepare
from crosshead.losses import get_loss
from crosshead.losses.protocol import Float, Loss
from crosshead.penalties import ElasticNet

PENALTIES = {"l2": 0.0, "l1": 1.0}


@final
class LogisticRegression(LinearScores):
    """Logistic regression with the constructor and attributes of scikit-learn's `LogisticRegression`.

    Minimises C·Σ sᵢ ℓᵢ + ρ‖W‖₁ + (1 − ρ)/2·‖W‖², with ρ = ``l1_ratio``; ℓ is the multinomial log loss for three
    or more classes and the binary log loss of one weight vector for two. The bias is not penalised.

    Parameters
    ----------
    penalty : {"deprecated", "l2", "l1", "elasticnet", None}, default="deprecated"
        As in scikit-learn, where it is deprecated: "l2" and "l1" set ``l1_ratio``, None means ``C=inf``.
    C : float, default=1.0
        Inverse strength of the penalty. ``C=inf`` trains without penalty; no duality gap exists then.
    l1_ratio : float, default=0.0
        ρ: 0 is L2, 1 is L1.
    dual : bool, default=False
        Accepted and ignored.
    tol : float, default=1e-4
        Relative duality gap at which the fit is certified and ends.
    fit_intercept : bool, default=True
        Whether there is a bias.
    intercept_scaling : float, default=1
        Accepted and ignored: the bias is never penalised.
    class_weight : dict, "balanced" or None, default=None
        As in scikit-learn.
    random_state : int, RandomState or None, default=None
        Selects the rows that the solver estimates the curvature from.
    solver : str, default="lbfgs"
        Accepted and ignored: the solver is chosen by the problem.
    max_iter : int, default=1000
        Maximum number of iterations (scikit-learn's default is 100; here an iteration is about one pass over the data).
    verbose : int, default=0
        1 writes a line to stderr after each iteration.
    warm_start : bool, default=False
        Start from the last fit's weights.
    n_jobs : int or None, default=None
        Threads; −1 is all.

    Attributes
    ----------
    coef_ : ndarray (1, D) for two classes, else (C, D)
    intercept_ : ndarray (1,) or (C,)
    classes_ : ndarray (C,)
    n_iter_ : ndarray (1,)
    n_features_in_, feature_names_in_
        As in scikit-learn.
    objective_, gap_, status_, message_, history_
        As in `LinearClassifier`; ``objective_`` is divided by C·Σ sᵢ.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = LogisticRegression().fit(X, y)
    >>> model.status_, model.coef_.shape
    ('converged', (1, 30))
    """

    def __init__(
        self,
        penalty: str | None = "deprecated",
        *,
        C: float = 1.0,
        l1_ratio: float = 0.0,
        dual: bool = False,
        tol: float = 1e-4,
        fit_intercept: bool = True,
        intercept_scaling: float = 1,
        class_weight: Any = None,
        random_state: Any = None,
        solver: str = "lbfgs",
        max_iter: int = 1000,
        verbose: int = 0,
        warm_start: bool = False,
        n_jobs: int | None = None,
    ) -> None:
        self.penalty = penalty
        self.C = C
        self.l1_ratio = l1_ratio
        self.dual = dual
        self.tol = tol
        self.fit_intercept = fit_intercept
        self.intercept_scaling = intercept_scaling
        self.class_weight = class_weight
        self.random_state = random_state
        self.solver = solver
        self.max_iter = max_iter
        self.verbose = verbose
        self.warm_start = warm_start
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> LogisticRegression:
        """Fit to features X (N, D), dense or sparse, and labels y (N,)."""
        check_budget(self.tol, self.max_iter, None)
        check_flags(fit_intercept=self.fit_intercept, dual=self.dual, warm_start=self.warm_start)
        X, y = checked_training_data(self, X, y)
        if y.ndim == 2:
            raise ValueError(f"y should be a 1d array of labels, got an array of shape {y.shape} instead")
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
        prepared = prepare(X, y, sample_weight, self.class_weight)
        data = _single_column(prepared) if len(prepared.classes) == 2 else prepared.data
        self.classes_ = prepared.classes
        self.coef_, self.intercept_, result = train(
            data,
            self._loss(),
            self._penalty(data.total_weight),
            fit_intercept=self.fit_intercept,
            tol=self.tol,
            max_iter=self.max_iter,
            max_time=None,
            engine="auto",
            precision="auto",
            n_threads=self.n_jobs,
            callback=None,
            verbose=self.verbose,
            seed=seed_of(self.random_state),
            start=self._warm_start(data.n_classes, X.shape[1]),
        )
        self.n_iter_ = np.array([max(1, result.iterations)], dtype=np.int32)
        self.objective_, self.gap_ = result.value, result.gap
        self.status_, self.message_ = result.status, result.message
        self.history_ = result.history
        return self

    def _loss(self) -> Loss:
        several = not hasattr(self, "classes_") or len(self.classes_) > 2
        return get_loss("softmax" if several else "binary")

    def _parameters(self) -> tuple[Float, Float]:
        return self.coef_, self.intercept_

    def _engine_options(self) -> dict[str, Any]:
        return {"n_threads": self.n_jobs}

    def _penalty(self, total_weight: float) -> ElasticNet:
        ratio, strength = self.l1_ratio, self.C
        if self.penalty is None:
            strength = np.inf
        elif self.penalty in PENALTIES:
            ratio = PENALTIES[self.penalty]
        elif self.penalty not in ("deprecated", "elasticnet"):
            raise ValueError(f"penalty must be 'l2', 'l1', 'elasticnet' or None, not {self.penalty!r}")
        if strength == np.inf:
            return ElasticNet(0.0, ratio or 0.0)
        if check_number("C", strength) == 0:
            raise ValueError("C must be positive")
        return ElasticNet(1.0 / (strength * total_weight), ratio or 0.0)

    def _warm_start(self, columns: int, n_features: int) -> tuple[Float, Float] | None:
        if not self.warm_start or getattr(self, "coef_", np.empty(0)).shape != (columns, n_features):
            return None
        return self.coef_, self.intercept_ if self.fit_intercept else np.zeros(columns)


def _single_column(prepared: Prepared) -> TrainingData:
    """Training data of two classes as one score: index 0 for the second class, −1 (no column) for the first."""
    data = prepared.data
    return TrainingData(data.features, (data.target - 1).astype(np.int32), 1, data.sample_weight)
