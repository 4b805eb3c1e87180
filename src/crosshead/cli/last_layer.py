"""The last layer of a trained network, as trained and as solved: alpha by validation, and what solving changed."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from crosshead.cli.commands.fit import FitOptions
from crosshead.cli.errors import UsageError
from crosshead.cli.labels import class_indices
from crosshead.cli.measures import Computing, measure, model_loss, scores_of
from crosshead.cli.options.loss import chosen_loss
from crosshead.cli.output import percent
from crosshead.data import Dataset
from crosshead.linear import ConvergenceWarning
from crosshead.linear.path import regularisation_path
from crosshead.models import Model
from crosshead.penalties import ElasticNet
from crosshead.scaling import Scaler

if TYPE_CHECKING:
    from crosshead.nn.training.trainer import Trained

N_ALPHAS = 13
PATH_TOL = 1e-3
"""Alphas are compared by their validation loss, in which a gap of a thousandth cannot be seen."""


@dataclass(frozen=True)
class LastLayer:
    """One last layer on the network's features: training objective, then loss and error of validation and test rows."""

    objective: float
    validation_loss: float
    validation_error: float
    test_loss: float | None
    test_error: float | None


@dataclass(frozen=True)
class NetworkFit:
    """How the network was trained, and its last layer before and after it was solved.

    ``tried`` are pairs of alpha and validation loss; none where alpha was given.
    """

    trained: Trained
    history: str
    tried: list[tuple[float, float]]
    before: LastLayer
    after: LastLayer

    def pairs(self) -> list[tuple[str, str]]:
        """Names and values for the table of a fit."""
        trained, before, after = self.trained, self.before, self.after
        early = f", ended early with the weights of epoch {trained.epoch_of_weights}" if trained.stopped_early else ""
        resumed = f", {trained.resumed_after} of them by an earlier run" if trained.resumed_after else ""
        rows = [("validation rows", before.validation_loss, before.validation_error)]
        solved = [(after.validation_loss, after.validation_error)]
        if before.test_loss is not None and before.test_error is not None:
            rows.append(("test rows", before.test_loss, before.test_error))
            solved.append((after.test_loss or 0.0, after.test_error or 0.0))
        return [
            ("network", f"{trained.epochs} epochs{resumed}{early}, {trained.images_per_second:.0f} images/s"),
            ("history", self.history),
            *([] if not self.tried else [("alpha", f"the best of {len(self.tried)} on validation rows")]),
            ("training objective", f"{before.objective:.8g} as trained, {after.objective:.8g} solved"),
            *(
                (
                    name,
                    f"loss {loss:.6g} as trained, {now:.6g} solved; "
                    f"error {percent(error)} as trained, {percent(left)} solved",
                )
                for (name, loss, error), (now, left) in zip(rows, solved, strict=True)
            ),
        ]

    def document(self) -> dict[str, Any]:
        """The same as a JSON document."""
        trained = self.trained
        last = {moment.epoch: asdict(moment) for moment in trained.history}
        return {
            "epochs": trained.epochs,
            "epoch_of_weights": trained.epoch_of_weights,
            "stopped_early": trained.stopped_early,
            "resumed_after": trained.resumed_after,
            "images_per_second": trained.images_per_second,
            "history": list(last.values()),
            "alphas": [{"alpha": alpha, "validation_loss": loss} for alpha, loss in self.tried],
            "last_layer_as_trained": asdict(self.before),
            "last_layer_solved": asdict(self.after),
        }


def choose_alpha(
    options: FitOptions, features: Any, target: Any, others: Any, own: Any
) -> tuple[float, list[tuple[float, float]]]:
    """The alpha whose certified fit has the lowest loss on validation rows, and all alphas with their losses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # only the fit at the chosen alpha is kept, and judged
        try:
            path = regularisation_path(
                features,
                target,
                N_ALPHAS,
                loss=chosen_loss(options),
                l1_ratio=options.l1_ratio,
                fit_intercept=options.intercept,
                class_weight=options.class_weight,
                tol=max(options.tol, PATH_TOL),
                max_iter=options.max_iter,
                max_time=options.max_time,
                engine=options.engine,
                n_threads=options.threads,
                random_state=options.seed,
            )
        except ValueError as error:
            raise UsageError(f"{options.source}: {error}") from error
    loss, tried = chosen_loss(options), list[tuple[float, float]]()
    assert path.coef is not None  # it was not asked to leave them out
    index = np.searchsorted(path.classes, own)
    for alpha, weight, bias in zip(path.alphas, path.coef, path.intercepts, strict=True):
        scores = np.asarray(others, dtype=np.float64) @ weight.T + bias
        tried.append((float(alpha), float(loss.value(scores, index).mean())))
    return min(tried, key=lambda one: one[1])[0], tried


def measure_last_layer(
    options: FitOptions, judged: Model, sides: dict[str, Dataset], alpha: float, scaling: Scaler
) -> LastLayer:
    """Objective on the rows ``learning``, loss and error on ``validation`` and ``test``.

    Both last layers are judged as W and b of the scaled features, on which the penalty is.
    """
    computing = Computing(options.engine, options.threads)
    found = {
        name: measure(judged, side.features, class_indices(side, judged.classes), computing)
        for name, side in sides.items()
        if name != "learning"
    }
    test = found.get("test")
    return LastLayer(
        _objective(options, judged, sides["learning"], alpha, scaling),
        found["validation"].mean_loss,
        found["validation"].error,
        None if test is None else test.mean_loss,
        None if test is None else test.error,
    )


def _objective(options: FitOptions, model: Model, rows: Dataset, alpha: float, scaling: Scaler) -> float:
    """Σ sᵢℓᵢ / Σ sᵢ + penalty, in float64."""
    target = class_indices(rows, model.classes)
    counts = np.bincount(target, minlength=len(model.classes))
    weights = np.ones(target.size) if options.class_weight is None else 1.0 / counts[target]
    loss, total = model_loss(model), 0.0
    for first, scores in scores_of(model, rows.features, Computing(options.engine, options.threads)):
        part = slice(first, first + len(scores))
        total += float((loss.value(scores.astype(np.float64), target[part]) * weights[part]).sum())
    weight = model.weight
    if model.scaling.kind == "none" and scaling.scale is not None:
        weight = weight * scaling.scale  # the same scores of scaled features
    return total / float(weights.sum()) + ElasticNet(alpha, options.l1_ratio).value(weight)
