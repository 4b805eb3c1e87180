"""Build the contents of a report from a model's scores or from predictions of any tool, in one pass over the rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from crosshead.data import Dataset, Predictions
from crosshead.evaluation import Evaluator
from crosshead.evaluation.top_losses import TopLosses, top_losses
from crosshead.explain import Explanation, explain, explain_probabilities
from crosshead.losses import get_loss
from crosshead.losses.protocol import Array
from crosshead.models import Model
from crosshead.report.page.contents import Contents, Training
from crosshead.report.page.thumbnails import image_shape

COSTLIEST = 24
"""Default number of rows with the largest losses."""

BEFORE_TEMPERATURE = (
    "This is the arithmetic of the training loss. The probabilities elsewhere on this page are softmax(z / {:.4g})."
)

TITLES = {"softmax": "cross-entropy", "binary": "binary cross-entropy"}
"""Losses in nats."""


@dataclass(frozen=True)
class Wording:
    """The text of a report beyond its numbers; see `Contents`.

    Examples
    --------
    >>> Wording("Cats and dogs", "Three images.").title
    'Cats and dogs'
    """

    title: str
    subject: str
    judged_on: str = "rows"
    row_title: str = "row"
    cautions: Sequence[str] = ()
    commands: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    date: str | None = None


@dataclass(frozen=True)
class Settings:
    """Settings of a report: lengths of lists, and ``resamples`` and ``seed`` of the bootstrap intervals.

    Examples
    --------
    >>> Settings(seed=1).seed
    1
    """

    costliest: int = COSTLIEST
    level: float = 0.95
    resamples: int = 1000
    seed: int = 0


def report_on_model(
    model: Model,
    dataset: Dataset,
    target: NDArray[Any],
    blocks: Iterable[tuple[int, Array]],
    wording: Wording,
    *,
    training: Training | None = None,
    settings: Settings | None = None,
) -> Contents:
    """Collect the contents of a report on a model's scores for labelled rows.

    ``target`` (N,) has indices of the model's classes; ``blocks`` yield (first row, scores (n, C)) in order, so that
    memory does not grow with N × C.

    Examples
    --------
    >>> dataset = Dataset(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array(["cat", "dog"]))
    >>> model = Model(np.eye(2), np.zeros(2), np.array(["cat", "dog"]), "softmax")
    >>> blocks = [(0, np.array([[1.0, 0.0], [0.0, 1.0]]))]
    >>> contents = report_on_model(model, dataset, np.array([0, 1]), blocks, Wording("Cats and dogs", "Two rows."))
    >>> contents.evaluation.accuracy
    1.0
    """
    settings = settings or Settings()
    loss = get_loss(model.loss, **model.loss_parameters)
    reading = _Reading(model.classes, target, settings, loss=loss, temperature=model.temperature)
    name = model.loss if model.temperature is None else "softmax"
    cost = loss if model.temperature is None else get_loss(name)
    top = top_losses(reading.watch(blocks), target, settings.costliest, loss=cost)
    shape = image_shape(model.encoding.get("shape"))
    wrong, right = _examples(top, reading)
    return Contents(
        title=wording.title,
        subject=wording.subject,
        evaluation=reading.evaluator.result(),
        top=top,
        top_names=[_row_name(dataset, row) for row in top.rows.tolist()],
        judged_on=wording.judged_on,
        row_title=wording.row_title,
        loss_title=loss_title(name),
        unit="nats" if cost.has_probabilities else "",
        cautions=wording.cautions,
        training=training,
        weight=np.asarray(model.weight, dtype=np.float64),
        shape=shape,
        top_features=None if shape is None else _dense(dataset.features[top.rows]),
        samples=[
            (
                f"{heading}: {wording.row_title} {_row_name(dataset, row)}",
                explain(model, _dense(dataset.features[[row]])[0], model.classes[target[row]].item()),
            )
            for heading, row in (("A right prediction", right), ("A wrong prediction", wrong))
            if row is not None
        ],
        samples_note="" if model.temperature is None else BEFORE_TEMPERATURE.format(model.temperature),
        commands=wording.commands,
        facts=wording.facts,
        date=wording.date,
        level=settings.level,
    )


def report_on_predictions(
    predictions: Predictions, wording: Wording, *, loss: str = "softmax", settings: Settings | None = None
) -> Contents:
    """Collect the contents of a report on predictions of any tool, with their labels.

    The loss of probabilities is −ln p, that of scores ``loss``. Raises DataError without labels or for invalid
    probabilities.

    Examples
    --------
    >>> p = np.array([[0.8, 0.2], [0.4, 0.6], [0.7, 0.3]])
    >>> predictions = Predictions(p, np.array(["cat", "dog"]), np.array([0, 1, 1]))
    >>> contents = report_on_predictions(predictions, Wording("Cats and dogs", "Three pictures."))
    >>> contents.evaluation.wrong, contents.top_names
    (1, ['3', '2', '1'])
    """
    settings = settings or Settings()
    target = np.asarray(predictions.known_target(), dtype=np.int64)
    given = predictions.kind == "probabilities"
    cost = None if given else get_loss(loss)
    reading = _Reading(predictions.classes, target, settings, loss=cost, tolerance=predictions.tolerance)
    top = top_losses(reading.watch(predictions.blocks()), target, settings.costliest, loss=loss, probabilities=given)
    wrong, right = _examples(top, reading)
    return Contents(
        title=wording.title,
        subject=wording.subject,
        evaluation=reading.evaluator.result(),
        top=top,
        top_names=[predictions.row_name(row) for row in top.rows.tolist()],
        judged_on=wording.judged_on,
        loss_title="cross-entropy" if given else loss_title(loss),
        unit="nats" if cost is None or cost.has_probabilities else "",
        cautions=wording.cautions,
        samples=[
            (f"{heading}: row {predictions.row_name(row)}", _explained(predictions, row, int(target[row]), loss))
            for heading, row in (("A right prediction", right), ("A wrong prediction", wrong))
            if row is not None
        ],
        commands=wording.commands,
        facts=wording.facts,
        date=wording.date,
        level=settings.level,
    )


def loss_title(loss: str) -> str:
    """The display name of the mean loss.

    Examples
    --------
    >>> loss_title("softmax"), loss_title("squared_hinge")
    ('cross-entropy', 'squared hinge loss')
    """
    return TITLES.get(loss, f"{loss.replace('_', ' ')} loss")


class _Reading:
    """Evaluates blocks of scores or probabilities as they pass, and records the first right and wrong rows."""

    def __init__(
        self,
        classes: Array,
        target: NDArray[Any],
        settings: Settings,
        *,
        loss: Any,
        temperature: float | None = None,
        tolerance: float | None = None,
    ) -> None:
        self.evaluator = Evaluator(
            len(target),
            classes,
            loss=loss,
            temperature=temperature,
            level=settings.level,
            resamples=settings.resamples,
            seed=settings.seed,
            tolerance=tolerance,
        )
        self._target = target
        self._temperature = 1.0 if temperature is None else temperature
        self.first_right: int | None = None
        self.first_wrong: int | None = None

    def watch(self, blocks: Iterable[tuple[int, Array]]) -> Iterator[tuple[int, Array]]:
        """Pass the blocks on, with scores divided by the temperature, and evaluate them."""
        for first, block in blocks:
            wrong = self.evaluator.add(block, self._target[first : first + len(block)]).wrong
            if self.first_right is None and not wrong.all():
                self.first_right = first + int(np.argmin(wrong))
            if self.first_wrong is None and wrong.any():
                self.first_wrong = first + int(np.argmax(wrong))
            yield first, block if self._temperature == 1.0 else block / self._temperature


def _examples(top: TopLosses, reading: _Reading) -> tuple[int | None, int | None]:
    """The wrong row with the largest loss, and the first right one."""
    wrong = np.flatnonzero(top.target != top.predicted)
    return int(top.rows[wrong[0]]) if wrong.size else reading.first_wrong, reading.first_right


def _explained(predictions: Predictions, row: int, target: int, loss: str) -> Explanation:
    outputs = np.asarray(predictions.outputs[row], dtype=np.float64)
    names = [str(label) for label in predictions.classes.tolist()]
    if predictions.kind == "scores":
        return explain(outputs, target, loss=loss, classes=names)
    # Rounded probabilities sum to 1 only approximately; the explanation needs a distribution.
    return explain_probabilities(outputs / outputs.sum(), target, classes=names)


def _row_name(dataset: Dataset, row: int) -> str:
    return str(row + 1) if dataset.row_names is None else dataset.row_names[row]


def _dense(rows: Any) -> Array:
    return np.asarray(rows.toarray() if sparse.issparse(rows) else rows)
