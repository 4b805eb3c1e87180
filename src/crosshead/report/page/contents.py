"""What a report is made of: results and arrays, from crosshead or from any other tool."""

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
    """How the model came to be, as its document says it.

    ``gap`` is None where no bound is known; ``history`` holds columns passes, seconds, objective and gap, where kept.
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
    """Everything that a page shows.

    * ``title``; ``subject``: one sentence that says what is judged, and on which rows; ``date``: as given, if any
    * ``evaluation``: with intervals; ``judged_on``: what the rows are, such as "held-out rows"
    * ``top``: the costliest rows; ``top_names``: what each goes by; ``row_title``: "row" or "file"
    * ``loss_title``, ``unit``: of ``top.loss``
    * ``cautions``: what a reader must know to read the numbers rightly
    * ``training``, ``weight`` (C, D), ``shape`` of a row as a picture: of a model; None for predictions
    * ``top_features``: the rows of ``top`` as features (K, D), where they can be shown as pictures
    * ``samples``: explanations, each under its heading; ``samples_note``: a sentence before them
    * ``commands``: lines that make the model and this page again; ``facts``: what else it takes
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
