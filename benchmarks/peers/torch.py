"""torch.optim.LBFGS (strong Wolfe, history 20) on an autograd objective, as a person would write it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, final

import numpy as np

from peers.base import Fit, Solution, doubling, installed, only_l2, with_dtype
from problems import Problem

NOT_SMOOTH = ("hinge", "crammer_singer")


@final
class LBFGS:
    environment = "torch"
    knob = "max_iter"

    def __init__(self, dtype: str = "float32") -> None:
        self.name, self.dtype = with_dtype("torch-lbfgs", dtype, "float32"), dtype

    def cannot(self, problem: Problem) -> str | None:
        if problem.loss in NOT_SMOOTH:
            return "L-BFGS needs a smooth loss"
        return only_l2(problem)

    def budgets(self) -> Iterator[float]:
        return doubling(5)

    def prepare(self, problem: Problem, features: Any, labels: np.ndarray, budget: float, threads: int) -> Fit:
        import torch

        torch.set_num_threads(threads)
        x, y = as_tensor(features), torch.from_numpy(labels)
        loss = mean_loss(problem)

        def fit() -> Solution:
            weight = torch.zeros(problem.classes, problem.features, dtype=x.dtype, requires_grad=True)
            bias = torch.zeros(problem.classes, dtype=x.dtype, requires_grad=problem.fit_intercept)
            parameters = [weight, bias] if problem.fit_intercept else [weight]
            optimiser = torch.optim.LBFGS(
                parameters,
                max_iter=int(budget),
                max_eval=10 * int(budget),
                tolerance_grad=0.0,
                tolerance_change=0.0,
                history_size=20,
                line_search_fn="strong_wolfe",
            )
            evaluations = 0

            def closure() -> Any:
                nonlocal evaluations
                evaluations += 1
                optimiser.zero_grad()
                scores = x @ weight.T + bias if problem.sparse else torch.nn.functional.linear(x, weight, bias)
                value = loss(scores, y) + problem.alpha / 2 * weight.square().sum()
                value.backward()
                return value

            optimiser.step(closure)
            return Solution(weight.detach().numpy(), bias.detach().numpy(), None, f"{evaluations} evaluations")

        return fit

    def version(self) -> str:
        return installed("torch", "numpy")


def as_tensor(features: Any) -> Any:
    """Features as a tensor on the same memory."""
    import torch

    if isinstance(features, np.ndarray):
        return torch.from_numpy(features)
    parts = (torch.from_numpy(features.indptr), torch.from_numpy(features.indices), torch.from_numpy(features.data))
    return torch.sparse_csr_tensor(*parts, size=features.shape)


def one_against_rest(scores: Any, labels: Any) -> Any:
    """The mean over rows of one logistic loss a class."""
    from torch.nn import functional

    own = scores.gather(1, labels[:, None]).sum()
    return (functional.softplus(scores).sum() - own) / len(scores)


def mean_loss(problem: Problem) -> Callable[[Any, Any], Any]:
    """The mean loss of scores and labels. PyTorch's margin losses divide by the number of classes."""
    from torch.nn import functional

    if problem.loss == "softmax":
        return functional.cross_entropy
    if problem.loss == "binary":
        return one_against_rest
    return lambda scores, labels: problem.classes * functional.multi_margin_loss(scores, labels, p=2)
