"""What commands that train share: the loss, the estimators' options, scaling, and the model of a fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from crosshead.cli.engine import engine_name
from crosshead.cli.errors import UsageError
from crosshead.data import Dataset
from crosshead.linear import LinearClassifier, LinearClassifierCV
from crosshead.losses import get_loss
from crosshead.losses.protocol import Loss
from crosshead.models import Model, model_of
from crosshead.models.from_estimator import history_columns
from crosshead.scaling import Scaler

OF_SOLVERS = "smoothing"
"""It rounds off the kinks of hinges on the way to their optimum; what is trained is the loss itself."""


class NamesLoss(Protocol):
    """Options that name a loss."""

    @property
    def loss(self) -> str:
        """Its name."""
        ...

    @property
    def loss_parameter(self) -> Mapping[str, float] | None:
        """Its parameters by name."""
        ...


class TrainingOptions(NamesLoss, Protocol):
    """Options of a command that trains, `FitOptions` and `PathOptions`; ``alpha`` is not among them."""

    @property
    def source(self) -> str: ...  # noqa: D102
    @property
    def l1_ratio(self) -> float: ...  # noqa: D102
    @property
    def intercept(self) -> bool: ...  # noqa: D102
    @property
    def class_weight(self) -> str | None: ...  # noqa: D102
    @property
    def tol(self) -> float: ...  # noqa: D102
    @property
    def max_iter(self) -> int: ...  # noqa: D102
    @property
    def max_time(self) -> float | None: ...  # noqa: D102
    @property
    def engine(self) -> str: ...  # noqa: D102
    @property
    def threads(self) -> int | None: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102


def chosen_loss(options: NamesLoss) -> Loss:
    """The loss; UsageError for a parameter or a value that it does not take."""
    parameters = options.loss_parameter or {}
    try:
        if OF_SOLVERS in parameters:
            raise ValueError(f"{OF_SOLVERS} is for solvers, and no part of the loss that is trained; leave it out")
        return get_loss(options.loss, **parameters)
    except ValueError as error:
        raise UsageError(f"--loss-parameter: {error}") from error


def estimator_options(options: TrainingOptions) -> dict[str, Any]:
    """The arguments that all estimators take."""
    return {
        "loss": chosen_loss(options),
        "l1_ratio": options.l1_ratio,
        "fit_intercept": options.intercept,
        "class_weight": options.class_weight,
        "tol": options.tol,
        "max_iter": options.max_iter,
        "max_time": options.max_time,
        "engine": options.engine,
        "n_threads": options.threads,
        "random_state": options.seed,
    }


def fitted_scaler(scale: str, features: Any, source: str) -> Scaler:
    """The scaler of these features; UsageError where they cannot be scaled so."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            return Scaler.fit(scale, features)  # type: ignore[arg-type]  # one of those known, or a ValueError
    except ValueError as error:
        raise UsageError(f"{source}: {error}") from error


def trained_model(
    options: TrainingOptions,
    estimator: LinearClassifier | LinearClassifierCV,
    training: Dataset,
    scaler: Scaler,
    record: Mapping[str, Any],
) -> Model:
    """The model of an estimator; ``record`` are further entries of the record of its training."""
    model = model_of(
        estimator,
        training,
        scaler=scaler,
        source=options.source,
        training={"engine": engine_name(options.engine), **record},
    )
    return replace(model, loss_parameters=options.loss_parameter or {})


def fit_record(classifier: LinearClassifier, split_from: str | None) -> dict[str, Any]:
    """What a model's document says of one fit; ``split_from`` is the fingerprint of what its rows were split from."""
    return {"split_from": split_from, "seconds": seconds(classifier), "history": history_columns(classifier.history_)}


def seconds(classifier: LinearClassifier) -> float:
    """How long the training took."""
    return classifier.history_[-1].seconds if classifier.history_ else 0.0
