"""A linear classifier with any built-in loss and an elastic-net penalty, trained to a certified optimum."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, final

import numpy as np
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_random_state, validate_data

from crosshead.linear.base import FEATURE_TYPES, LinearScores
from crosshead.linear.training import train
from crosshead.linear.validation import normalised, prepare
from crosshead.losses import as_loss
from crosshead.losses.protocol import Float, Loss
from crosshead.penalties import ElasticNet
from crosshead.solvers import Progress
from crosshead.sparse_structure import canonical, require_structure


@final
class LinearClassifier(LinearScores):
    """Multiclass linear classifier that minimises a regularised loss to a certified relative duality gap.

    F(W, b) = Σ sᵢ ℓ(W xᵢ + b, yᵢ) / Σ sᵢ + α·( ρ‖W‖₁ + (1 − ρ)/2·‖W‖² ); the bias is not penalised.

    Parameters
    ----------
    loss : str or Loss, default="softmax"
        "softmax" (cross-entropy), "binary" (one sigmoid per class), "hinge" (Weston–Watkins), "squared_hinge",
        "crammer_singer" or "squared_error"; or a loss object, such as ``Softmax(label_smoothing=0.1)``.
    alpha : float, default=1e-4
        Strength α ≥ 0 of the penalty. scikit-learn's ``C`` is ``alpha = 1 / (C · Σ sᵢ)``. 0 has no certificate.
    l1_ratio : float, default=0.0
        ρ: 0 is L2, 1 is L1.
    fit_intercept : bool, default=True
        Whether there is a bias b.
    class_weight : dict, "balanced" or None, default=None
        Factors of the sample weights, by label; "balanced" gives every class the same total.
    tol : float, default=1e-4
        Relative duality gap (F − D)/|F| at which the fit is certified and ends.
    max_iter : int, default=1000
        Maximum number of iterations; most of them cost one pass over the data.
    max_time : float or None, default=None
        Time limit in seconds, after which the fit ends with the best weights so far.
    warm_start : bool, default=False
        Whether to start from the weights of the last fit, if classes and features are the same.
    engine : {"auto", "native", "reference"}, default="auto"
        How passes are computed; "auto" is native if the C++ extension is available.
    precision : {"auto", "full"}, default="auto"
        "auto" rounds dense features to bfloat16 in the first passes, if the processor supports it and passes are long.
        The last passes and the certificate always use the features themselves. "full" never rounds.
    n_threads : int or None, default=None
        None: OMP_NUM_THREADS, or the CPUs this process may use. Results do not depend on it.
    callback : callable or None, default=None
        Called with a `Progress` after each iteration; the fit ends if it returns a true value.
    verbose : int, default=0
        1 writes a line to stderr after each iteration.
    random_state : int, RandomState or None, default=None
        Selects the rows that the solver estimates the curvature from; None always selects the same. It affects the
        iterations, not the optimum.

    Attributes
    ----------
    coef_ : ndarray (C, D)
        W, one row per class, also for two classes.
    intercept_ : ndarray (C,)
        b; zeros without an intercept.
    classes_ : ndarray (C,)
        Labels, in the order of the rows of ``coef_``. A class whose rows all have weight 0 is left out.
    n_features_in_, feature_names_in_ : int, ndarray (D,)
        As in scikit-learn.
    n_iter_, n_passes_ : int
        Iterations, and full passes over the data.
    objective_, gap_ : float
        F at the solution, and the relative duality gap, computed in float64: F exceeds its minimum by at most
        ``gap_ · |objective_|``. inf where alpha = 0.
    status_, message_ : str
        "converged" only if ``gap_ ≤ tol``; otherwise why the fit ended, as a word and as a sentence.
    history_ : list of Progress
        iteration, passes, seconds, objective and gap after each iteration.

    Raises
    ------
    ValueError
        From `fit`: fewer than two classes, NaN or infinite features, parameters out of range.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = LinearClassifier(alpha=1e-3).fit(X, y)
    >>> model.status_, bool(model.gap_ <= 1e-4), model.coef_.shape
    ('converged', True, (3, 4))
    """

    def __init__(
        self,
        loss: str | Loss = "softmax",
        *,
        alpha: float = 1e-4,
        l1_ratio: float = 0.0,
        fit_intercept: bool = True,
        class_weight: Mapping[Any, float] | str | None = None,
        tol: float = 1e-4,
        max_iter: int = 1000,
        max_time: float | None = None,
        warm_start: bool = False,
        engine: str = "auto",
        precision: str = "auto",
        n_threads: int | None = None,
        callback: Callable[[Progress], object] | None = None,
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        self.loss = loss
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.tol = tol
        self.max_iter = max_iter
        self.max_time = max_time
        self.warm_start = warm_start
        self.engine = engine
        self.precision = precision
        self.n_threads = n_threads
        self.callback = callback
        self.verbose = verbose
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> LinearClassifier:
        """Fit to features X (N, D), dense or sparse, and y: labels (N,), or probabilities (N, C).

        X is read in its own dtype, float32 or float64, and not copied. ``sample_weight`` (N,) ≥ 0: a weight of k is
        the same as repeating the row k times.
        """
        loss = self._loss()
        penalty = ElasticNet(check_number("alpha", self.alpha), check_number("l1_ratio", self.l1_ratio))
        check_budget(self.tol, self.max_iter, self.max_time)
        check_flags(fit_intercept=self.fit_intercept, warm_start=self.warm_start)
        X, y = checked_training_data(self, X, y)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
        prepared = prepare(X, normalised(y, loss), sample_weight, self.class_weight)
        weight, bias, result = train(
            prepared.data,
            loss,
            penalty,
            fit_intercept=self.fit_intercept,
            tol=self.tol,
            max_iter=self.max_iter,
            max_time=self.max_time,
            engine=self.engine,
            precision=self.precision,
            n_threads=self.n_threads,
            callback=self.callback,
            verbose=self.verbose,
            seed=seed_of(self.random_state),
            start=self._warm_start(prepared.classes, X.shape[1]),
        )
        self.coef_, self.intercept_, self.classes_ = weight, bias, prepared.classes
        self.n_iter_, self.n_passes_ = max(1, result.iterations), result.passes
        self.objective_, self.gap_ = result.value, result.gap
        self.status_, self.message_ = result.status, result.message
        self.history_ = result.history
        return self

    def _loss(self) -> Loss:
        return as_loss(self.loss)

    def _parameters(self) -> tuple[Float, Float]:
        return self.coef_, self.intercept_

    def _engine_options(self) -> dict[str, Any]:
        return {"engine": self.engine, "n_threads": self.n_threads}

    def _warm_start(self, classes: Any, n_features: int) -> tuple[Float, Float] | None:
        if not self.warm_start or not hasattr(self, "coef_"):
            return None
        if not np.array_equal(self.classes_, classes) or self.coef_.shape[1] != n_features:
            return None
        return self.coef_, self.intercept_ if self.fit_intercept else np.zeros(len(classes))


def checked_training_data(estimator: Any, X: Any, y: Any) -> tuple[Any, Any]:
    """Validate features (float32 or float64, dense or CSR) and labels or rows of probabilities."""
    require_structure(X)
    shape = () if y is None else np.asarray(y).shape
    several = len(shape) == 2 and shape[1] > 1
    X, y = validate_data(
        estimator,
        _without_mask(X),
        _as_numpy_type(y),
        accept_sparse="csr",
        dtype=FEATURE_TYPES,
        multi_output=several,
        ensure_min_samples=2,
    )
    X = canonical(X)
    if several:
        return X, np.asarray(y, dtype=np.float64)
    check_classification_targets(y)
    return X, y


def _without_mask(X: Any) -> Any:
    """Raise ValueError for a masked array with masked values, which NumPy would treat as numbers."""
    if np.ma.is_masked(X):
        raise ValueError("X holds masked values: fill them in (X.filled(…)) or remove their rows")
    return X


def _as_numpy_type(y: Any) -> Any:
    """Convert labels of pandas' nullable dtypes to NumPy's; scikit-learn would convert them to floats."""
    numpy_dtype = getattr(getattr(y, "dtype", None), "numpy_dtype", None)
    if numpy_dtype is None or numpy_dtype.kind not in "biu" or y.isna().any():
        return y
    return y.to_numpy(dtype=numpy_dtype)


def check_number(name: str, value: Any) -> float:
    """Convert to a float; ValueError unless it is finite and ≥ 0."""
    if not isinstance(value, Real) or not np.isfinite(float(value)) or value < 0:
        raise ValueError(f"{name} must be a finite number that is not negative, not {value!r}")
    return float(value)


def check_flags(**values: Any) -> None:
    """Raise ValueError unless all are booleans: a string such as "no" would count as true."""
    for name, value in values.items():
        if not isinstance(value, (bool, np.bool_)):
            raise ValueError(f"{name} must be True or False, not {value!r}")


def check_budget(tol: float, max_iter: int, max_time: float | None) -> None:
    """Raise ValueError for stopping criteria that make no sense."""
    if check_number("tol", tol) >= 1:
        raise ValueError(f"tol must be below 1, not {tol!r}: a gap of 1 is what any weights have, trained or not")
    if not isinstance(max_iter, (int, np.integer)) or max_iter < 1:
        raise ValueError(f"max_iter must be a whole number of at least 1, not {max_iter!r}")
    if max_time is not None:
        check_number("max_time", max_time)


def seed_of(random_state: Any) -> int:
    """A seed from scikit-learn's ``random_state``; None is a fixed seed."""
    if random_state is None:
        return 0
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
