"""A certified fit on the command line: how it is trained, and what a model's document says of it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosshead.cli.commands.fit import FitOptions
from crosshead.cli.commands.path import PathOptions
from crosshead.cli.engine import engine_name
from crosshead.cli.errors import UsageError
from crosshead.cli.measures import Measures
from crosshead.cli.options.loss import chosen_loss
from crosshead.cli.progress import Monitor
from crosshead.data import Dataset
from crosshead.data.dataset import Array
from crosshead.linear import ConvergenceWarning, LinearClassifier, LinearClassifierCV
from crosshead.models import Model
from crosshead.scaling import Scaler
from crosshead.solvers import Progress

if TYPE_CHECKING:
    from crosshead.cli.last_layer import NetworkFit

MOST_HISTORY = 200


@dataclass(frozen=True)
class Fitted:
    """A trained model, how its training went, and how well it does."""

    options: FitOptions
    classifier: LinearClassifier
    model: Model
    folder: Path
    training: Measures
    test: Measures | None
    judged: Dataset
    row_title: str
    report: Path | None = None
    network: NetworkFit | None = None

    @property
    def alpha(self) -> float:
        """The strength of the penalty on the weights of the last layer."""
        return float(self.classifier.alpha)


def train(
    options: FitOptions,
    alpha: float,
    features: Any,
    target: Array | None,
    monitor: Monitor,
    start: tuple[Array, Array, Array] | None = None,
) -> LinearClassifier:
    """The certified fit of scaled features, from ``start`` on: W, b and classes, of which it is never worse."""
    classifier = LinearClassifier(
        chosen_loss(options),
        alpha=alpha,
        l1_ratio=options.l1_ratio,
        fit_intercept=options.intercept,
        class_weight=options.class_weight,
        tol=options.tol,
        max_iter=options.max_iter,
        max_time=options.max_time,
        engine=options.engine,
        precision=options.precision,
        n_threads=options.threads,
        callback=monitor,
        random_state=options.seed,
    )
    if start is not None:
        classifier.warm_start = True
        classifier.coef_, classifier.intercept_, classifier.classes_ = start
    monitor.stage("first passes")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the report says it in its own line
        try:
            return classifier.fit(features, target)
        except ValueError as error:
            raise UsageError(f"{options.source}: {error}") from error


def model_of(
    options: FitOptions,
    training: Dataset,
    scaler: Scaler,
    classifier: LinearClassifier,
    split_from: str | None,
) -> Model:
    """The model of a fit, with what its document says of the training."""
    told = {"seconds": seconds(classifier), "history": history_columns(classifier.history_)}
    return trained_model(options, training, scaler, classifier, classifier.alpha, {"split_from": split_from, **told})


def trained_model(
    options: FitOptions | PathOptions,
    training: Dataset,
    scaler: Scaler,
    estimator: LinearClassifier | LinearClassifierCV,
    alpha: float,
    told: dict[str, Any],
) -> Model:
    """The model of an estimator; ``told`` is what its document says of the training beside what all of them say."""
    return Model(
        weight=estimator.coef_,
        bias=estimator.intercept_,
        classes=estimator.classes_,
        loss=options.loss,
        loss_parameters=options.loss_parameter or {},
        scaling=scaler,
        encoding=training.encoding,
        feature_names=training.feature_names,
        hyperparameters=hyperparameters(options, alpha),
        training={
            "source": Path(options.source).name,
            "rows": training.n_rows,
            "objective": estimator.objective_,
            "gap": estimator.gap_,
            "status": estimator.status_,
            "iterations": estimator.n_iter_,
            "passes": estimator.n_passes_,
            "engine": engine_name(options.engine),
            **told,
        },
        fingerprint=training.fingerprint(),
    )


def seconds(classifier: LinearClassifier) -> float:
    """How long the training took."""
    return classifier.history_[-1].seconds if classifier.history_ else 0.0


def history_columns(history: Sequence[Progress]) -> dict[str, list[float]]:
    """A fit's progress as a model's document keeps it: of a long one about `MOST_HISTORY` moments, with both ends.

    Examples
    --------
    >>> from crosshead.solvers import Progress
    >>> history_columns([Progress(1, 2, 0.5, 1.25, float("inf"))])
    {'passes': [2], 'seconds': [0.5], 'objective': [1.25], 'gap': [inf]}
    """
    count = min(len(history), MOST_HISTORY)
    kept = [history[round(place * (len(history) - 1) / max(1, count - 1))] for place in range(count)]
    return {name: [getattr(one, name) for one in kept] for name in ("passes", "seconds", "objective", "gap")}


def hyperparameters(options: FitOptions | PathOptions, alpha: float) -> dict[str, Any]:
    """What a model's document says of the options it was trained with."""
    names = ("l1_ratio", "class_weight", "tol", "max_iter", "max_time", "seed")
    return {"alpha": alpha, "fit_intercept": options.intercept} | {name: getattr(options, name) for name in names}
