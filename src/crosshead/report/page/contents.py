"""The contents of a report: results and arrays, of crosshead or any other tool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from crosshead.evaluation import Evaluation
    from crosshead.evaluation.top_losses import TopLosses
    from crosshead.explain import Explanation


@dataclass(frozen=True, eq=False)
class Training:
    """The training of a model, as recorded in its document.

    ``gap`` is None without a bound; ``history`` has the columns passes, seconds, objective and gap, if recorded.

    Examples
    --------
    >>> Training("softmax", 0.25, 1e-5, 1e-4, "converged", "the relative duality gap is at most tol").status
    'converged'
    """

    loss: str
    objective: float | None
    gap: float | None
    tol: float | None
    status: str
    message: str
    history: Mapping[str, Any] | None = None


@dataclass(frozen=True, eq=False)
class Contents:
    """Everything that a report shows; `report_on_model` and `report_on_predictions` create it.

    * ``title``; ``subject``: a sentence on what is evaluated, and on which rows; ``date``: optional
    * ``evaluation``: with intervals; ``judged_on``: description of the rows, such as "held-out rows"
    * ``top``: the rows with the largest losses; ``top_names``: their names; ``row_title``: "row" or "file"
    * ``loss_title``, ``unit``: of ``top.loss``
    * ``cautions``: caveats on the numbers
    * ``training``, ``weight`` (C, D), ``shape`` of a row as an image: of a model; None for predictions
    * ``top_features``: the features (K, D) of ``top``, if they can be shown as images
    * ``samples``: explanations with headings; ``samples_note``: a sentence before them
    * ``commands``: commands that reproduce the model and this page; ``facts``: further facts to reproduce them

    Examples
    --------
    >>> import numpy as np
    >>> from crosshead.data import Predictions
    >>> from crosshead.report import Wording, report_on_predictions
    >>> predictions = Predictions(np.array([[0.8, 0.2], [0.4, 0.6]]), np.array(["cat", "dog"]), np.array([0, 1]))
    >>> report_on_predictions(predictions, Wording("Cats and dogs", "Two images.")).evaluation.accuracy
    1.0
    """

    title: str
    subject: str
    evaluation: Evaluation
    top: TopLosses
    top_names: Sequence[Any]
    judged_on: str = "rows"
    row_title: str = "row"
    loss_title: str = "loss"
    unit: str = ""
    cautions: Sequence[str] = ()
    training: Training | None = None
    weight: NDArray[np.float64] | None = None
    shape: tuple[int, ...] | None = None
    top_features: NDArray[Any] | None = None
    samples: Sequence[tuple[str, Explanation]] = ()
    samples_note: str = ""
    commands: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    date: str | None = None
    level: float = field(default=0.95)
