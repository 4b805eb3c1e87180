"""A linear classifier that chooses its alpha by cross-validation, with every fit certified."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, final

import numpy as np
from sklearn.utils.validation import _check_sample_weight

from crosshead.engines import TrainingData
from crosshead.linear.base import LinearScores
from crosshead.linear.classifier import check_budget, check_flags, checked_training_data, seed_of
from crosshead.linear.folds import FoldOutcome, make_folds, measured_weight, run_fold
from crosshead.linear.path import SolvedPath, solve_path
from crosshead.linear.path_solver import PathOptions
from crosshead.linear.training import ConvergenceWarning
from crosshead.linear.validation import normalised, prepare
from crosshead.losses import as_loss
from crosshead.losses.protocol import Array, Float, Loss
from crosshead.solvers import Progress
from crosshead.solvers.protocol import MEANING

SCORINGS = ("neg_log_loss", "accuracy", "neg_loss")
ACCEPTED_STATUSES = ("converged", "no_certificate")  # at alpha = 0 there is no certificate


@final
class LinearClassifierCV(LinearScores):
    """Linear classifier whose alpha is chosen by cross-validation over a regularisation path.

    At each alpha it minimises F(W, b) = Σ sᵢ ℓ(W xᵢ + b, yᵢ) / Σ sᵢ + α·( ρ‖W‖₁ + (1 − ρ)/2·‖W‖² ) on all rows and on
    the training rows of each fold. The result is the fit on all rows at the alpha with the best mean held-out score.

    Parameters
    ----------
    loss, l1_ratio, fit_intercept, class_weight, engine, n_threads, random_state
        As in `LinearClassifier`. "balanced" weights are computed for each fold from its own rows.
    alphas : int or array-like, default=45
        As in `regularisation_path`; a grid is determined by all rows.
    cv : int, splitter or iterable of (training rows, held-out rows), default=5
        A number is a number of stratified folds, in the order of the rows.
    scoring : {"neg_log_loss", "accuracy", "neg_loss"} or None, default=None
        The score to maximise: the mean log-probability of the true class in nats, the accuracy, or minus the mean
        training loss. None is "neg_log_loss" for losses with probabilities, else "accuracy".
    one_standard_error : bool, default=False
        Whether to choose the largest alpha whose mean score is within one standard error (over the folds) of the best.
    tol : float, default=1e-4
        Relative duality gap of every fit.
    max_iter : int, default=1000
        Maximum number of iterations of each fit.
    max_time : float or None, default=None
        Time limit in seconds for all fits together; the path of all rows and that of each fold have equal shares. An
        alpha with an uncertified fit is chosen only if there is no other.
    callback : callable or None, default=None
        Called with a `Progress` after each iteration of each fit; if it returns a true value, that path ends.
    verbose : int, default=0
        1 writes a line to stderr for each path.

    Attributes
    ----------
    alpha_ : float
        The chosen alpha, ``alphas_[best_index_]``.
    alphas_ : ndarray (A,)
        In falling order.
    scores_ : ndarray (n_folds, A)
        On held-out rows, weighted by ``sample_weight``; ``mean_scores_``, ``std_scores_`` (with n_folds − 1) over the
        folds, (A,).
    folds_ : list of FoldOutcome
        Loss, log loss and error on held-out rows, gap, status and passes of every fit.
    path_ : Path
        The fits of all rows.
    coef_, intercept_, classes_, n_features_in_, feature_names_in_
        As in `LinearClassifier`.
    objective_, gap_, status_, message_, history_, n_iter_, n_passes_
        Of the fit of all rows at ``alpha_``. ``total_passes_`` counts those of all fits.

    Raises
    ------
    ValueError
        From `fit`: fewer than two classes, a fold without training rows of some class, parameters out of range.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = LinearClassifierCV(alphas=[1e-1, 1e-2, 1e-3], cv=3).fit(X, y)
    >>> model.alpha_, model.scores_.shape, model.status_
    (0.001, (3, 3), 'converged')
    """

    def __init__(
        self,
        loss: str | Loss = "softmax",
        *,
        alphas: Any = 45,
        l1_ratio: float = 0.0,
        cv: Any = 5,
        scoring: str | None = None,
        one_standard_error: bool = False,
        fit_intercept: bool = True,
        class_weight: Mapping[Any, float] | str | None = None,
        tol: float = 1e-4,
        max_iter: int = 1000,
        max_time: float | None = None,
        engine: str = "auto",
        n_threads: int | None = None,
        callback: Callable[[Progress], object] | None = None,
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        self.loss = loss
        self.alphas = alphas
        self.l1_ratio = l1_ratio
        self.cv = cv
        self.scoring = scoring
        self.one_standard_error = one_standard_error
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.tol = tol
        self.max_iter = max_iter
        self.max_time = max_time
        self.engine = engine
        self.n_threads = n_threads
        self.callback = callback
        self.verbose = verbose
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None) -> LinearClassifierCV:
        """Fit to features X (N, D), dense or sparse, and y: labels (N,), or probabilities (N, C).

        X is never copied. ``sample_weight`` (N,) ≥ 0 weights rows in training and in the scores; ``groups`` (N,) are
        passed to the splitter, such as scikit-learn's ``GroupKFold``.
        """
        began = time.perf_counter()
        options = self._options()
        scoring = self._scoring()
        X, y = checked_training_data(self, X, y)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
        y = normalised(y, options.loss)
        prepared = prepare(X, y, sample_weight, self.class_weight)
        classes = prepared.classes
        folds = make_folds(self.cv, X, y, sample_weight, self.class_weight, classes=classes, groups=groups)
        options = replace(options, deadline=self._deadline(began, len(folds) + 1))
        solved = solve_path(prepared.data, classes, self.alphas, options)
        self._report("all rows", solved.path.passes)
        measured = measured_weight(y, sample_weight, classes)
        scored = TrainingData(X, prepared.data.target, prepared.data.n_classes, measured)
        self.folds_: list[FoldOutcome] = []
        for number, fold in enumerate(folds, start=1):
            self._raise_if_interrupted(solved.path.status)
            deadline = self._deadline(began, len(folds) + 1 - number)
            self.folds_.append(run_fold(fold, scored, solved, deadline))
            self._raise_if_interrupted(self.folds_[-1].status)
            self._report(f"fold {number} of {len(folds)}", self.folds_[-1].passes)
        self.classes_ = classes
        self.scores_ = np.stack([_scores(fold, scoring) for fold in self.folds_])
        self._choose(solved)
        return self

    def _choose(self, solved: SolvedPath) -> None:
        path = self.path_ = solved.path
        folds = len(self.scores_)
        self.alphas_ = path.alphas
        self.mean_scores_ = self.scores_.mean(axis=0)
        self.std_scores_ = self.scores_.std(axis=0, ddof=1) if folds > 1 else np.zeros(len(path))
        error = self.std_scores_ / np.sqrt(folds)
        usable = self._usable(solved)
        allowed = np.flatnonzero(usable)
        chosen = select_index(self.mean_scores_[allowed], error[allowed], self.one_standard_error)
        self.best_index_ = int(allowed[chosen])
        self.alpha_ = float(path.alphas[self.best_index_])
        point = solved.points[self.best_index_]
        self.coef_, self.intercept_ = point.weight, point.bias
        result = point.result
        self.objective_, self.gap_ = result.value, result.gap
        self.status_, self.message_, self.history_ = result.status, MEANING[result.status], result.history
        self.n_iter_, self.n_passes_ = max(1, result.iterations), point.passes
        self.total_passes_ = int(path.passes.sum()) + sum(int(fold.passes.sum()) for fold in self.folds_)

    def _usable(self, solved: SolvedPath) -> Array:
        """At which alphas every fit is certified, or none can be; warns if some are left out, (A,)."""
        paths = [("all rows", solved.path.status)]
        paths += [(f"fold {number}", fold.status) for number, fold in enumerate(self.folds_, start=1)]
        good = np.array([[status in ACCEPTED_STATUSES for status in statuses] for _, statuses in paths])
        usable = np.asarray(good.all(axis=0))
        if usable.all():
            return usable
        alphas, certified = solved.path.alphas, int(usable.sum())
        first = int(np.argmin(usable))
        names = ", ".join(name for (name, _), row in zip(paths, good, strict=True) if not row[first])
        left = (
            f"alpha is chosen from the other {certified}"
            if certified
            else "alpha is chosen by scores of uncertified fits"
        )
        warnings.warn(
            f"{len(alphas) - certified} of {len(alphas)} alphas have fits that are not certified (alpha "
            f"{alphas[first]:.3g}: {names}): {left}; raise max_time or max_iter, or leave out the smallest alphas",
            ConvergenceWarning,
            stacklevel=4,
        )
        return usable if certified else np.ones_like(usable)

    def _deadline(self, began: float, walks: int) -> float | None:
        """The deadline of the next of ``paths`` paths, such that each has an equal share of the remaining time."""
        if self.max_time is None:
            return None
        now = time.perf_counter()
        return now + max(0.0, began + self.max_time - now) / walks

    def _loss(self) -> Loss:
        return as_loss(self.loss)

    def _parameters(self) -> tuple[Float, Float]:
        return self.coef_, self.intercept_

    def _engine_options(self) -> dict[str, Any]:
        return {"engine": self.engine, "n_threads": self.n_threads}

    def _options(self) -> PathOptions:
        check_budget(self.tol, self.max_iter, self.max_time)
        check_flags(fit_intercept=self.fit_intercept, one_standard_error=self.one_standard_error)
        return PathOptions(
            loss=self._loss(),
            l1_ratio=self.l1_ratio,
            fit_intercept=self.fit_intercept,
            tol=self.tol,
            max_iter=self.max_iter,
            deadline=None,
            engine=self.engine,
            n_threads=self.n_threads,
            callback=self.callback,
            seed=seed_of(self.random_state),
        )

    def _scoring(self) -> str:
        probabilities = self._loss().has_probabilities
        scoring = self.scoring or ("neg_log_loss" if probabilities else "accuracy")
        if scoring not in SCORINGS:
            raise ValueError(f"scoring must be None or one of {', '.join(SCORINGS)}, not {scoring!r}")
        if scoring == "neg_log_loss" and not probabilities:
            raise ValueError(
                f"the loss {self._loss().name!r} has no probabilities: use scoring='accuracy' or 'neg_loss'"
            )
        return scoring

    def _raise_if_interrupted(self, status: tuple[str, ...]) -> None:
        if "interrupted" in status:  # a partial cross-validation chooses no alpha
            raise KeyboardInterrupt

    def _report(self, what: str, passes: Any) -> None:
        if self.verbose > 0:
            print(f"{what}: {len(passes)} alphas in {int(passes.sum())} passes", file=sys.stderr)


def select_index(mean: Float, error: Float, one_standard_error: bool) -> int:
    """The index of the best mean score, or of the first within one standard error of it; alphas fall.

    Examples
    --------
    >>> mean, error = np.array([0.80, 0.88, 0.90]), np.array([0.01, 0.02, 0.03])
    >>> select_index(mean, error, False), select_index(mean, error, True)
    (2, 1)
    """
    best = int(np.argmax(mean))
    if not one_standard_error:
        return best
    return int(np.argmax(mean >= mean[best] - error[best]))


def _scores(fold: FoldOutcome, scoring: str) -> Float:
    measures = fold.measures
    if scoring == "accuracy":
        return 1.0 - measures.error
    if scoring == "neg_loss" or measures.log_loss is None:
        return -measures.loss
    return -measures.log_loss
