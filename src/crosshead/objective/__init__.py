"""Loss × penalty × data: what a solver minimises, its certificate, and how it is curved."""

from crosshead.objective.evaluation import Evaluation
from crosshead.objective.objective import Objective

__all__ = ["Evaluation", "Objective"]
