"""What the runner needs to know of a solver. Nothing is imported here or at the top of a peer's file but NumPy:
the runner, in our environment, asks the same classes what they can do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from problems import Problem


class Cannot(Exception):  # noqa: N818
    """A solver found out only when it ran that it cannot do the problem."""


@dataclass(frozen=True)
class Solution:
    """W (C, D) and b (C,), and what the solver says of itself: a gap that it certifies, words, passes over the data."""

    coef: np.ndarray
    intercept: np.ndarray
    own_gap: float | None = None
    words: str = ""
    passes: int | None = None


Fit = Callable[[], Solution]


class Peer(Protocol):
    """One solver.

    * ``name``: as in tables; ``environment``: its section in peers.txt, "" for ours
    * ``dtype``: the type of X that it is given, the one it prefers; ``knob``: what its budgets are of
    """

    name: str
    environment: str
    dtype: str
    knob: str

    def cannot(self, problem: Problem) -> str | None:
        """Why it cannot do this problem, or None."""
        ...

    def budgets(self) -> Iterator[float]:
        """Values of the knob, from cheap to dear."""
        ...

    def prepare(self, problem: Problem, features: Any, labels: np.ndarray, budget: float, threads: int) -> Fit:
        """What is not timed: imports, settings, and the layout it wants. The result is the call that is timed."""
        ...

    def version(self) -> str:
        """Name and version of what ran, asked for in its own environment."""
        ...


def installed(*names: str) -> str:
    """Names and versions of installed distributions."""
    from importlib.metadata import version

    return ", ".join(f"{name} {version(name)}" for name in names)


def with_dtype(name: str, dtype: str, preferred: str) -> str:
    """The name of a solver that is run on both types of X: the one that is not its preferred one is said."""
    return name if dtype == preferred else f"{name}-{dtype}"


def doubling(first: float) -> Iterator[float]:
    """first, 2·first, 4·first, … as whole numbers of iterations."""
    value = first
    while value <= 1e6:
        yield value
        value *= 2


def falling(first: float, last: float, per_decade: int) -> Iterator[float]:
    """Tolerances from first down to last."""
    step = 0
    while (value := first * 10 ** (-step / per_decade)) >= last * 0.999:
        yield float(f"{value:.3g}")
        step += 1


def only_softmax(problem: Problem) -> str | None:
    """The refusal of solvers that have no other multiclass loss."""
    return None if problem.loss == "softmax" else f"has no multiclass {problem.loss.replace('_', ' ')} loss"


def only_l2(problem: Problem) -> str | None:
    """The refusal of solvers without an L1 penalty."""
    return None if problem.smooth_penalty else "has no L1 penalty"


def only_pure(problem: Problem) -> str | None:
    """The refusal of solvers that have L2 and L1, but no mixture."""
    return None if problem.l1_ratio in (0, 1) else "has no elastic net"


def one_column_factor(problem: Problem) -> float:
    """What α becomes for a solver that has one column v = w₁ − w₀ for two classes.

    The best W with that difference is (−v/2, v/2): ½‖W‖² = ¼‖v‖² and ‖W‖₁ = ‖v‖₁.
    """
    return 0.5 if problem.classes == 2 and problem.smooth_penalty else 1.0


def both_columns(column: np.ndarray, share: float = 0.5) -> np.ndarray:
    """(−v, v)·share, (2, …), of one column v, (1, …), that scores the second class."""
    return share * np.concatenate([-column, column])
