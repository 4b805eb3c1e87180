"""A temperature for a saved model, fitted on rows that it has not seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from crosshead.data.errors import DataError
from crosshead.evaluation.calibration.cross_fitting import CrossFitted, cross_fit
from crosshead.evaluation.calibration.temperature import TemperatureScaler
from crosshead.models.labels import as_dataset, class_indices
from crosshead.models.model import Model
from crosshead.models.provenance import SeenRows, seen_rows, unseen_rows
from crosshead.models.scoring import loss_of, score


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A model with a temperature, and what the temperature does.

    * ``model``: its probabilities are softmax(z/T); classes, weights and bias stay as they are
    * ``judged``: measures before and after, each row judged by a temperature that was fitted on other folds
    * ``rows``: how many the temperature was fitted on; ``seen``: how many of all rows the model had seen in training,
      which are left out
    """

    model: Model
    judged: CrossFitted
    rows: int
    seen: SeenRows


def calibrate(
    model: Model,
    X: Any,
    y: Any = None,
    *,
    folds: int = 5,
    seed: int = 0,
    bins: int = 15,
    source: str | None = None,
    engine: str = "auto",
    n_threads: int | None = None,
    callback: Callable[[str], object] | None = None,
) -> Calibrated:
    """Fit a temperature T for a model: the one of the lowest mean cross-entropy −log softmax(z/T)_y.

    Rows that the model was trained on are not used: its training data are refused, and of a data set that training and
    held-out rows were split from the held-out rows are taken. The temperature of the result is fitted on all rows
    used; how well it does is judged by cross-fitting over ``folds``.

    Parameters
    ----------
    X, y : features (N, D), not yet scaled, and labels (N,); or X is a `crosshead.data.Dataset` that has both
    folds, seed : int
        Of the cross-fitting.
    bins : int
        Of the calibration errors.
    source : str, optional
        What the model's document calls the rows; by default what the data set is called.
    engine, n_threads
        As in `crosshead.LinearClassifier`.
    callback : callable, optional
        Told in words what is done next.

    Raises
    ------
    DataError
        Where the model has seen the rows, labels are no classes of it, or no temperature is best.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.

    Examples
    --------
    >>> model = Model(np.eye(2), np.zeros(2), np.array(["no", "yes"]), "hinge")
    >>> X = np.tile([[0.0, 1.0]], (40, 1))  # the same scores throughout, right three times in four
    >>> found = calibrate(model, X, np.tile(["yes", "yes", "yes", "no"], 10))
    >>> float(np.round(found.model.temperature * np.log(3), 3))
    1.0
    """
    tell: Callable[[str], object] = (lambda text: None) if callback is None else callback
    whole = as_dataset(X, y)
    seen = seen_rows(model, whole)
    dataset = unseen_rows(model, whole, seen)
    target = class_indices(dataset, model.classes)
    tell(f"scoring {dataset.n_rows} rows")
    scores = score(model, dataset, engine=engine, n_threads=n_threads).astype(np.float64)
    tell("fitting the temperature")
    try:
        scaler = TemperatureScaler().fit(scores, target)
        judged = cross_fit(
            scores,
            target,
            loss=loss_of(model),
            temperature=model.temperature,
            classes=model.classes,
            folds=folds,
            bins=bins,
            seed=seed,
        )
    except ValueError as error:
        raise DataError(f"{whole.source}: {error}") from error
    summary = {
        "source": Path((whole.source if source is None else source).partition(",")[0]).name,
        "rows": dataset.n_rows,
        "fingerprint": dataset.fingerprint(),
        "source_fingerprint": seen.fingerprint,
        "folds": folds,
        "seed": seed,
        "cross_entropy": judged.after.cross_entropy,
        "ece": judged.after.ece,
    }
    calibrated = replace(model, temperature=scaler.temperature_, calibration=summary)
    return Calibrated(calibrated, judged, dataset.n_rows, seen)
