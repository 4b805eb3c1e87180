"""A model of a fitted estimator: its weights, and what is worth knowing of its training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crosshead.linear import LinearClassifier, LinearClassifierCV
from crosshead.losses import as_loss, get_loss
from crosshead.losses.protocol import Loss
from crosshead.models.labels import as_dataset
from crosshead.models.model import Model
from crosshead.scaling import Scaler
from crosshead.solvers import Progress

MOST_HISTORY = 200
NO_PARAMETER = "smoothing"
"""A hinge's rounding on the way to its optimum; what is trained is the loss without it."""


def model_of(
    estimator: LinearClassifier | LinearClassifierCV,
    X: Any,
    y: Any = None,
    *,
    scaler: Scaler | None = None,
    source: str | None = None,
    training: Mapping[str, Any] | None = None,
) -> Model:
    """The model of a fitted estimator, which can be saved, with the record of its training.

    Parameters
    ----------
    estimator : fitted LinearClassifier or LinearClassifierCV
    X, y : features (N, D), not scaled, and labels (N,) that it was trained on; or X is a `crosshead.data.Dataset`
        The model keeps their fingerprint, names and encoding, and not the rows themselves.
    scaler : Scaler, optional
        What brought X to the features that the estimator was fitted to.
    source : str, optional
        What the model's document calls the rows; by default what the data set is called.
    training : mapping, optional
        Further entries of the record of its training.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> scaler = Scaler.fit("standard", X)
    >>> model = model_of(LinearClassifier(alpha=1e-3).fit(scaler.apply(X), y), X, y, scaler=scaler)
    >>> model.loss, model.hyperparameters["alpha"], model.training["status"], model.training["rows"]
    ('softmax', 0.001, 'converged', 150)
    """
    dataset = as_dataset(X, y)
    loss = as_loss(estimator.loss)
    alpha = estimator.alpha_ if isinstance(estimator, LinearClassifierCV) else estimator.alpha
    seed = 0 if estimator.random_state is None else estimator.random_state
    names = ("fit_intercept", "l1_ratio", "class_weight", "tol", "max_iter", "max_time")
    return Model(
        weight=estimator.coef_,
        bias=estimator.intercept_,
        classes=estimator.classes_,
        loss=loss.name,
        loss_parameters=_given_parameters(loss),
        scaling=Scaler() if scaler is None else scaler,
        encoding=dataset.encoding,
        feature_names=dataset.feature_names,
        hyperparameters={
            "alpha": float(alpha),
            **{name: getattr(estimator, name) for name in names},
            **({"seed": int(seed)} if isinstance(seed, int | np.integer) else {}),
        },
        training={
            "source": Path(dataset.source if source is None else source).name,
            "rows": dataset.n_rows,
            "objective": estimator.objective_,
            "gap": estimator.gap_,
            "status": estimator.status_,
            "iterations": estimator.n_iter_,
            "passes": estimator.n_passes_,
            **(training or {}),
        },
        fingerprint=dataset.fingerprint(),
    )


def history_columns(history: Sequence[Progress]) -> dict[str, list[float]]:
    """A fit's progress as a model's document keeps it: of a long one about `MOST_HISTORY` moments, with both ends.

    Examples
    --------
    >>> history_columns([Progress(1, 2, 0.5, 1.25, float("inf"))])
    {'passes': [2], 'seconds': [0.5], 'objective': [1.25], 'gap': [inf]}
    """
    count = min(len(history), MOST_HISTORY)
    kept = [history[round(place * (len(history) - 1) / max(1, count - 1))] for place in range(count)]
    return {name: [getattr(one, name) for one in kept] for name in ("passes", "seconds", "objective", "gap")}


def _given_parameters(loss: Loss) -> dict[str, Any]:
    """The loss's parameters that are not their defaults."""
    usual = vars(get_loss(loss.name))
    return {name: value for name, value in vars(loss).items() if name != NO_PARAMETER and value != usual[name]}
