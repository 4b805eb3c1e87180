"""The objective: loss, penalty and data, with its certificate and models of its Hessian."""

from crosshead.objective.evaluation import Evaluation
from crosshead.objective.objective import Objective

__all__ = ["Evaluation", "Objective"]
