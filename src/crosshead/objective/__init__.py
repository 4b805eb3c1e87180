"""Loss × penalty × data: what a solver minimises, its certificate, and how it is curved."""

from crosshead.objective.objective import Evaluation, Objective

__all__ = ["Evaluation", "Objective"]
