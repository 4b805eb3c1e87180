"""`check`: does learning work on these data, before any long training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from crosshead.data.errors import DataError
from crosshead.diagnostics.data import data_findings
from crosshead.diagnostics.finding import FAILED_CHECK, PASSED, WARNING, Finding
from crosshead.diagnostics.learning import Learning, learning_findings
from crosshead.losses import as_loss
from crosshead.losses.protocol import Loss
from crosshead.models.labels import as_dataset, class_indices, training_classes
from crosshead.penalties import ElasticNet
from crosshead.scaling import Scaler, ScalingKind


@dataclass(frozen=True)
class Diagnosis:
    """What `check` found: ``findings`` in the order of the checks, on (rows, features) ``shape`` and ``n_classes``."""

    findings: tuple[Finding, ...]
    shape: tuple[int, int]
    n_classes: int

    @property
    def passed(self) -> bool:
        """Whether no check failed; warnings may remain."""
        return self.counts[FAILED_CHECK] == 0

    @property
    def counts(self) -> dict[str, int]:
        """How many checks passed, gave a warning, and failed."""
        statuses = [finding.status for finding in self.findings]
        return {status: statuses.count(status) for status in (PASSED, WARNING, FAILED_CHECK)}

    def __getitem__(self, key: str) -> Finding:
        """The finding of a check, by its key; KeyError for an unknown one."""
        return {finding.key: finding for finding in self.findings}[key]

    def to_dict(self) -> dict[str, Any]:
        """A JSON document."""
        rows, features = self.shape
        head = {"rows": rows, "features": features, "classes": self.n_classes, **self.counts}
        return {**head, "checks": [finding.to_dict() for finding in self.findings]}


def check(
    X: Any,
    y: Any = None,
    *,
    loss: str | Loss = "softmax",
    alpha: float = 1e-4,
    l1_ratio: float = 0.0,
    scale: str = "none",
    fit_intercept: bool = True,
    feature_names: list[str] | None = None,
    engine: str = "auto",
    n_threads: int | None = None,
    random_state: int = 0,
    callback: Callable[[str], object] | None = None,
) -> Diagnosis:
    """Check features, labels and loss before a long training: whether the arithmetic is right and learning can work.

    Four checks of learning: the loss at W = 0 against the loss of equal scores (ln C for softmax); the loss at small
    random weights; the gradient against central differences (F(w + hd) − F(w − hd)) / 2h; a few independent rows
    trained until their loss is nearly zero. Then the data: the size and spread of columns, constant and repeated
    columns, repeated rows, equal rows with different labels, the balance of the classes.

    Parameters
    ----------
    X, y : features (N, D), dense or SciPy CSR, and labels (N,); or X is a `crosshead.data.Dataset` that has both
    loss, alpha, l1_ratio, fit_intercept, engine, n_threads
        What will be trained, as in `crosshead.LinearClassifier`.
    scale : {"none", "standard", "maxabs"}
        Scale the features first, see `crosshead.scaling.Scaler`.
    feature_names : list of str, optional
        The names of the columns in the findings, beside an array X.
    random_state : int
        Chooses weights, directions and rows.
    callback : callable, optional
        Told in words what is checked next.

    Raises
    ------
    DataError
        Where there are fewer than two classes, or features that cannot be scaled.
    ValueError
        For an unknown loss, or a penalty that is negative.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> found = check(*load_iris(return_X_y=True))
    >>> found.passed, found.counts["warning"], found["initial_loss"].found
    (True, 1, '1.09861, expected ln C = 1.09861')
    >>> found["repeated_rows"].found
    '1 of 150 equal an earlier row: row 143'
    """
    tell: Callable[[str], object] = (lambda text: None) if callback is None else callback
    chosen, penalty = as_loss(loss), ElasticNet(alpha, l1_ratio)
    dataset = as_dataset(X, y, feature_names=feature_names)
    classes = training_classes(dataset)
    indices = class_indices(dataset, classes)
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            scaler = Scaler.fit(cast("ScalingKind", scale), dataset.features)
    except ValueError as error:
        raise DataError(f"{dataset.source}: {error}") from error
    features = scaler.apply(dataset.features)
    tell("checking features and labels")
    of_data = data_findings(dataset, features, classes, indices)
    tell("checking loss and gradient, and training a few rows to zero loss")
    learning = Learning(
        features=features,
        indices=indices,
        n_classes=len(classes),
        loss=chosen,
        penalty=penalty,
        intercept=fit_intercept,
        engine=engine,
        threads=n_threads,
        seed=random_state,
    )
    return Diagnosis((*learning_findings(learning), *of_data), features.shape, len(classes))
