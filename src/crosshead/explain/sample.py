"""A validated sample: its scores, its target, the names of its classes, and which classes to show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crosshead.losses.protocol import Float, Loss

MAX_CLASSES = 12
"""With more classes than this, only the true one and those with the highest scores are shown."""


@dataclass(frozen=True)
class Sample:
    """One validated sample.

    ``target`` is the index of the true class, or −1 if there is none or the target is given as numbers (C,), which
    are then in ``row``. ``truth`` is the target in the form that a loss takes.
    """

    scores: Float
    target: int
    row: Float | None
    classes: tuple[str, ...]
    loss: Loss
    base: float

    @property
    def truth(self) -> Any:
        """The target in the form that a loss takes: an index (1,) or a row (1, C)."""
        return np.array([self.target]) if self.row is None else self.row[None, :]

    @property
    def goal(self) -> Float:
        """The target as one number per class, (C,)."""
        if self.row is not None:
            return self.row
        goal = np.zeros(len(self.scores))
        if self.target >= 0:
            goal[self.target] = 1
        return goal

    @property
    def shown(self) -> tuple[int, ...]:
        """The columns to show, in order."""
        return columns_to_show(self.scores, [self.target] if self.target >= 0 else [])

    @property
    def hidden(self) -> tuple[int, ...]:
        """The columns that are not shown."""
        seen = set(self.shown)
        return tuple(column for column in range(len(self.scores)) if column not in seen)

    def name(self, column: int) -> str:
        """The display name of a column's class."""
        return self.classes[column]

    def marked(self, column: int) -> bool:
        """Whether a column belongs to the true class."""
        return column == self.target


def columns_to_show(scores: Float, wanted: Sequence[int], most: int = MAX_CLASSES) -> tuple[int, ...]:
    """All columns; or, if there are more than ``most``, the wanted ones and those with the highest scores, in order.

    Examples
    --------
    >>> columns_to_show(np.array([0.0, 3.0, 1.0, 2.0]), [0], most=3)
    (0, 1, 3)
    """
    if len(scores) <= most:
        return tuple(range(len(scores)))
    highest = [int(column) for column in np.argsort(-scores, kind="stable") if column not in wanted]
    return tuple(sorted([*wanted, *highest[: most - len(wanted)]]))


def class_names(classes: Any, count: int) -> tuple[str, ...]:
    """Display names of the classes, "class 0", … by default; ValueError if their number is wrong."""
    if classes is None:
        return tuple(f"class {column}" for column in range(count))
    names = tuple(str(name) for name in np.asarray(classes).tolist())
    if len(names) != count:
        raise ValueError(f"{len(names)} class names for {count} scores")
    return tuple(f"class {name}" if name.lstrip("-").isdigit() else name for name in names)
