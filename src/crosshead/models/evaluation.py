"""How well saved models do on labelled rows: measures, costliest rows, doubtful labels, and which model is better.

X and y are features (N, D), not yet scaled, and labels (N,); or X is a `crosshead.data.Dataset` that has both. Scores
are computed and judged in blocks of rows, so that memory does not grow with rows × classes. DataError names labels
that are no classes of the model. ``engine`` and ``n_threads`` are those of `crosshead.LinearClassifier`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from crosshead.data.checks import class_positions
from crosshead.data.dataset import Array, Dataset
from crosshead.data.errors import DataError
from crosshead.evaluation.comparison.compare import Comparer, Comparison
from crosshead.evaluation.doubtful_labels import DoubtfulLabels
from crosshead.evaluation.doubtful_labels import doubtful_labels as doubtful_labels_of
from crosshead.evaluation.evaluator import Evaluator
from crosshead.evaluation.result import Evaluation
from crosshead.evaluation.top_losses import TopLosses
from crosshead.evaluation.top_losses import top_losses as top_losses_of
from crosshead.linear import ConvergenceWarning, out_of_fold_probabilities
from crosshead.models.labels import as_dataset, class_indices
from crosshead.models.model import Model
from crosshead.models.scoring import has_probabilities, log_probabilities_of, loss_of, score, score_blocks
from crosshead.solvers import Progress

COMPARED_BYTES = 1 << 26
"""Features and scores of the rows that all compared models score before the next rows."""


@dataclass(frozen=True)
class Measures:
    """The mean loss and the errors on labelled rows, as a whole and by class.

    * ``mean_loss``: of the model's loss
    * ``cross_entropy``: the mean −log p of the true class in nats, None where the model has no probabilities
    * ``class_rows``, ``class_errors`` (C,): rows, and rows predicted wrong, by true class
    """

    mean_loss: float
    cross_entropy: float | None
    class_rows: NDArray[np.int64]
    class_errors: NDArray[np.int64]

    @property
    def rows(self) -> int:
        """The number of rows."""
        return int(self.class_rows.sum())

    @property
    def errors(self) -> int:
        """The number of rows predicted wrong."""
        return int(self.class_errors.sum())

    @property
    def error(self) -> float:
        """The share of rows predicted wrong."""
        return self.errors / self.rows

    def to_dict(self) -> dict[str, Any]:
        """A JSON document, with the cross-entropy in nats and bits where there are probabilities."""
        document = {"rows": self.rows, "errors": self.errors, "error": self.error, "mean_loss": self.mean_loss}
        if self.cross_entropy is None:
            return document
        bits = self.cross_entropy / float(np.log(2.0))
        return {**document, "cross_entropy_nats": self.cross_entropy, "cross_entropy_bits": bits}


def measure(model: Model, X: Any, y: Any = None, *, engine: str = "auto", n_threads: int | None = None) -> Measures:
    """The mean loss and the errors of a model: the first things to know about it, without calibration or intervals.

    Examples
    --------
    >>> model = Model(np.eye(2), np.zeros(2), np.array(["no", "yes"]), "hinge")
    >>> found = measure(model, [[1.0, 3.0], [2.0, 0.0]], ["yes", "yes"])
    >>> found.mean_loss, found.error
    (1.5, 0.5)
    """
    dataset = as_dataset(X, y)
    target = class_indices(dataset, model.classes)
    loss, total, log_likelihood = loss_of(model), 0.0, 0.0
    wrong = np.zeros(target.size, dtype=bool)
    for first, block in score_blocks(model, dataset, engine=engine, n_threads=n_threads):
        rows = slice(first, first + len(block))
        scores = block.astype(np.float64)
        total += float(loss.value(scores, target[rows]).sum())
        wrong[rows] = scores.argmax(axis=1) != target[rows]
        if has_probabilities(model):
            logs = log_probabilities_of(model, scores)
            log_likelihood += float(logs[np.arange(len(logs)), target[rows]].sum())
    n_classes = len(model.bias)
    return Measures(
        total / target.size,
        -log_likelihood / target.size if has_probabilities(model) else None,
        np.bincount(target, minlength=n_classes).astype(np.int64),
        np.bincount(target[wrong], minlength=n_classes).astype(np.int64),
    )


def evaluate(
    model: Model, X: Any, y: Any = None, *, engine: str = "auto", n_threads: int | None = None, **options: Any
) -> Evaluation:
    """Every measure of a model on labelled rows; ``options`` are those of `crosshead.evaluate`.

    They are its ``top_k``, ``bins``, ``level``, ``resamples`` and ``seed``.

    Examples
    --------
    >>> model = Model(np.eye(2), np.zeros(2), np.array(["no", "yes"]), "softmax")
    >>> found = evaluate(model, [[0.0, np.log(3)], [np.log(3), 0.0]], ["yes", "yes"])
    >>> found.error, round(found.brier, 4)
    (0.5, 0.625)
    """
    dataset = as_dataset(X, y)
    target = class_indices(dataset, model.classes)
    evaluator = _evaluator(model, target.size, **options)
    for first, scores in score_blocks(model, dataset, engine=engine, n_threads=n_threads):
        evaluator.add(scores, target[first : first + len(scores)])
    return evaluator.result()


def top_losses(
    model: Model, X: Any, y: Any = None, n: int = 50, *, engine: str = "auto", n_threads: int | None = None
) -> TopLosses:
    """The ``n`` rows of the largest loss; with a temperature T, of the largest cross-entropy of softmax(z/T).

    Examples
    --------
    >>> model = Model(np.eye(2), np.zeros(2), np.array(["no", "yes"]), "hinge")
    >>> found = top_losses(model, [[1.0, 3.0], [2.0, 0.0]], ["yes", "yes"], 1)
    >>> found.rows.tolist(), found.loss.tolist()
    ([1], [3.0])
    """
    dataset = as_dataset(X, y)
    target = class_indices(dataset, model.classes)
    blocks = score_blocks(model, dataset, engine=engine, n_threads=n_threads)
    if model.temperature is None:
        return top_losses_of(blocks, target, n, loss=loss_of(model))
    temperature = model.temperature
    return top_losses_of(((first, scores / temperature) for first, scores in blocks), target, n)


def doubtful_labels(
    model: Model,
    X: Any,
    y: Any = None,
    *,
    folds: int = 5,
    seed: int = 0,
    engine: str = "auto",
    n_threads: int | None = None,
    callback: Callable[[Progress], object] | None = None,
) -> DoubtfulLabels:
    """Rows whose labels are probably wrong, by models like ``model``, each trained without the fold that it judges.

    They have the model's loss, penalty and scaling; ``seed`` shuffles the rows into folds. Class indices are those of
    ``model.classes``; the threshold of a class without rows is NaN. ``callback`` gets each fit's progress. See
    `crosshead.doubtful_labels` for the method.

    Raises
    ------
    DataError
        For a loss without probabilities, rows of one class only, or a class with fewer rows than folds.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from crosshead.linear import LinearClassifier
    >>> from crosshead.models import model_of
    >>> X, y = load_iris(return_X_y=True)
    >>> model = model_of(LinearClassifier(alpha=1e-3).fit(X, y), X, y)
    >>> y[3] = 2
    >>> found = doubtful_labels(model, X, y)
    >>> int(found.rows[0]), int(found.given[0]), int(found.suggested[0])
    (3, 2, 0)
    """
    dataset = as_dataset(X, y)
    if not loss_of(model).has_probabilities:
        raise DataError(
            f"the model was trained with {model.loss}, which has no probabilities; train one of softmax or binary"
        )
    indices = class_indices(dataset, model.classes)
    present, own = np.unique(indices, return_inverse=True)
    counts = np.bincount(own)
    if len(present) < 2:
        raise DataError(
            f"{dataset.source}: all rows are of class {model.classes[present[0]]}; doubtful labels are found among "
            "rows of two classes or more"
        )
    if counts.min() < folds:
        raise DataError(
            f"{dataset.source}: class {model.classes[present[counts.argmin()]]} has {counts.min()} rows, too few for "
            f"{folds} folds; give more rows of it, or fewer folds"
        )
    settings = {
        name: model.hyperparameters[name]
        for name in ("alpha", "l1_ratio", "fit_intercept", "class_weight", "tol", "max_iter", "max_time")
        if name in model.hyperparameters
    }
    # The model's weights shorten the way to a fold's optimum, where its classes are the model's.
    start = (model.weight.astype(np.float64), model.bias.astype(np.float64))
    features = model.scaling.apply(dataset.features)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a fold that is nearly optimal ranks as well
        found_probabilities, _ = out_of_fold_probabilities(
            features if features.dtype in (np.float32, np.float64) else features.astype(np.float64),
            own,
            cv=StratifiedKFold(folds, shuffle=True, random_state=seed),
            loss=loss_of(model),
            engine=engine,
            n_threads=n_threads,
            callback=callback,
            random_state=seed,
            start=start if len(present) == len(model.classes) else None,
            **settings,
        )
    found = doubtful_labels_of(found_probabilities, own)
    n_classes = len(model.classes)
    thresholds = np.full(n_classes, np.nan)
    thresholds[present] = found.thresholds
    joint = np.zeros((n_classes, n_classes), dtype=np.int64)
    joint[np.ix_(present, present)] = found.joint
    return DoubtfulLabels(
        found.rows,
        present[found.given].astype(np.int64),
        present[found.suggested].astype(np.int64),
        found.given_probability,
        found.suggested_probability,
        thresholds,
        joint,
    )


def compare(
    models: Mapping[str, Model],
    X: Any,
    y: Any = None,
    *,
    most: int = 10,
    engine: str = "auto",
    n_threads: int | None = None,
    callback: Callable[[int, int], object] | None = None,
    **options: Any,
) -> Comparison:
    """Which of several models is better on the same rows, by how much, how surely, and on which rows.

    ``models`` are named. Where they take different features, X is a mapping of their names to a `Dataset` each, with
    the same rows in the same order. ``most``: how many of the rows that two models differ most on are listed.
    ``options`` are ``level``, ``resamples``, ``seed``, ``bins`` and ``top_k`` of `crosshead.compare`; ``callback`` is
    told how many rows of how many are done. DataError where the models do not have the same classes.

    Examples
    --------
    >>> names = np.array(["no", "yes"])
    >>> one, other = Model(np.eye(2), np.zeros(2), names, "softmax"), Model(-np.eye(2), np.zeros(2), names, "softmax")
    >>> found = compare({"one": one, "other": other}, [[1.0, 3.0], [2.0, 0.0], [5.0, 1.0]], ["yes", "no", "no"])
    >>> found.pairs[0].mcnemar.only_first, found.evaluations["other"].error
    (3, 1.0)
    """
    (first_name, one), *_ = models.items()
    _check_classes(models)
    if isinstance(X, Mapping):
        datasets: dict[str, Dataset] = {name: X[name] for name in models}
    else:
        datasets = dict.fromkeys(models, as_dataset(X, y))
    target = class_indices(datasets[first_name], one.classes)
    evaluators = {name: _evaluator(model, target.size, **{"level": 0.95, **options}) for name, model in models.items()}
    for evaluator in evaluators.values():
        evaluator.classes = one.classes
    comparer = Comparer(evaluators, most)
    orders = {name: class_positions(one.classes, model.classes) for name, model in models.items()}
    step = max(1, min(COMPARED_BYTES // (8 * sum(model.weight.shape)) for model in models.values()))
    for first in range(0, target.size, step):
        if callback is not None:
            callback(first, target.size)
        rows = slice(first, first + step)
        outputs: dict[str, Array] = {}
        for name, model in models.items():
            block = score(model, datasets[name].features[rows], engine=engine, n_threads=n_threads)
            outputs[name] = block[:, orders[name]]
        comparer.add(outputs, target[rows])
    return comparer.result()


def _evaluator(model: Model, n_rows: int, **options: Any) -> Evaluator:
    """The evaluator that blocks of the model's scores belong into."""
    return Evaluator(n_rows, model.classes, loss=loss_of(model), temperature=model.temperature, **options)


def _check_classes(models: Mapping[str, Model]) -> None:
    (first, one), *others = models.items()
    for name, other in others:
        odd = class_positions(other.classes, one.classes) < 0
        if odd.any() or len(other.classes) != len(one.classes):
            what = f"{name} knows {other.classes[odd][0]}" if odd.any() else f"{first} knows more"
            raise DataError(f"{first} and {name} do not tell the same classes apart ({what}); compare models that do")
