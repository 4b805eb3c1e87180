"""Optimizers for row-sparse gradients, with a state for the updated rows only."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from crosshead.nn.fused.sharding import is_sharded
from crosshead.nn.optim.row_state import RowState


class _RowSparse(Optimizer):
    """Updates the rows of a sparse gradient; all other rows and their state are unchanged. Abstract."""

    names: tuple[str, ...] = ()

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        limit = defaults["state_rows"]
        if limit is not None and limit < 1:
            raise ValueError(f"state_rows is a number of rows, at least 1, or None for every row, not {limit}")
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step for every parameter with a gradient; ValueError if that is not row-sparse."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    rows, gradient = _rows_of(parameter)
                    if len(rows):
                        self._update(parameter, rows, gradient, group)
        return loss

    def state_of(self, parameter: Tensor, group: dict[str, Any]) -> RowState:
        """The state of the parameter's rows."""
        held = self.state[parameter]
        if "rows" not in held:
            held["rows"] = RowState(_local(parameter), self.names, group["state_rows"])
        found: RowState = held["rows"]
        return found

    def state_numel(self) -> int:
        """How many floating-point numbers the state has, for all parameters together."""
        return sum(held["rows"].numel() for held in self.state.values() if "rows" in held)

    def state_dict(self) -> dict[str, Any]:
        """As of every optimizer; the state of a parameter is a dict of tensors for its stored rows."""
        found = super().state_dict()
        found["state"] = {number: held["rows"].to_dict() for number, held in found["state"].items() if "rows" in held}
        return found

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` gave, for parameters in the same order."""
        # The base class would convert row numbers to the parameter's floating-point type.
        super().load_state_dict({**state_dict, "state": {}})
        parameters = [(parameter, group) for group in self.param_groups for parameter in group["params"]]
        for number, held in state_dict["state"].items():
            parameter, group = parameters[int(number)]
            self.state_of(parameter, group).load(held)

    def _update(self, parameter: Tensor, rows: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        raise NotImplementedError


class RowSparseSGD(_RowSparse):
    """SGD with momentum for row-sparse gradients, with momentum for updated rows only.

    For the rows i of the gradient: g ← gᵢ + λwᵢ, vᵢ ← μvᵢ + g, wᵢ ← wᵢ − η·vᵢ (with ``nesterov`` g + μvᵢ instead of
    vᵢ). A row without a gradient and its momentum are unchanged. η is ``lr``, μ ``momentum``, λ ``weight_decay``.

    ``state_rows`` limits the rows with stored momentum. With 2·S rows, where a step has S, the state is 2·S·D numbers
    for any number of classes; the rows updated longest ago are dropped and start again with momentum zero. None stores
    every row that was ever updated. Without momentum there is no state.

    Parameters are tensors (C, …) whose gradients are sparse COO tensors with one sparse dimension. Raises ValueError
    for options outside their domain, and in ``step`` for other gradients.

    ``torch.optim.SGD`` accepts sparse gradients too, but its momentum buffer has every row that was ever updated, and
    each step moves all of them. ``torch.optim.SparseAdam`` has two dense tensors of the parameter's size.

    Examples
    --------
    >>> weight = torch.nn.Parameter(torch.zeros(1000, 2))
    >>> optimizer = RowSparseSGD([weight], lr=0.5, momentum=0.9)
    >>> weight.grad = torch.sparse_coo_tensor([[3, 8]], torch.ones(2, 2), weight.shape, check_invariants=True)
    >>> optimizer.step()
    >>> weight[3].tolist(), optimizer.state_numel()
    ([-0.5, -0.5], 4)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.0,
        *,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        state_rows: int | None = None,
    ) -> None:
        if not (lr >= 0 and 0 <= momentum < 1 and weight_decay >= 0):
            raise ValueError(
                f"lr and weight_decay must be at least 0 and momentum in [0, 1), not {lr}, {weight_decay}, {momentum}"
            )
        if nesterov and momentum == 0:
            raise ValueError("Nesterov's step needs a momentum above 0")
        options = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov}
        self.names = ("momentum",) if momentum else ()
        super().__init__(params, {**options, "state_rows": state_rows})

    def _update(self, parameter: Tensor, rows: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        if group["weight_decay"]:
            gradient = gradient.add(_local(parameter)[rows], alpha=group["weight_decay"])
        step = gradient
        if group["momentum"]:
            state = self.state_of(parameter, group)
            slots = state.touch(rows)
            step = state.numbers["momentum"][slots].mul_(group["momentum"]).add_(gradient)
            state.numbers["momentum"][slots] = step
            if group["nesterov"]:
                step = gradient.add(step, alpha=group["momentum"])
        _local(parameter).index_add_(0, rows, step, alpha=-group["lr"])


class RowSparseAdam(_RowSparse):
    """Adam for row-sparse gradients, with moments for updated rows only and a step count for each row.

    For the rows i of the gradient gᵢ, in the row's step number t: mᵢ ← β₁mᵢ + (1 − β₁)gᵢ, vᵢ ← β₂vᵢ + (1 − β₂)gᵢ²,
    wᵢ ← wᵢ − η·(m̂ᵢ/(√v̂ᵢ + ε) + λwᵢ) with m̂ᵢ = mᵢ/(1 − β₁ᵗ) and v̂ᵢ = vᵢ/(1 − β₂ᵗ). So a row whose first update comes
    late in training takes the same step as at the start. ``torch.optim.SparseAdam`` counts the steps of the whole
    parameter, and such a row's first step is up to (1 − β₁)/√(1 − β₂) times as long. η is ``lr``, ε ``eps``; λ,
    ``weight_decay``, is decoupled as in AdamW and acts on updated rows.

    ``state_rows`` limits the rows with stored moments, as in `RowSparseSGD`; parameters and errors are as there.

    Source: Kingma and Ba, ICLR 2015; Loshchilov and Hutter, ICLR 2019.

    Examples
    --------
    >>> weight = torch.nn.Parameter(torch.zeros(1000, 2))
    >>> optimizer = RowSparseAdam([weight], lr=0.5)
    >>> weight.grad = torch.sparse_coo_tensor([[3, 8]], torch.ones(2, 2), weight.shape, check_invariants=True)
    >>> optimizer.step()
    >>> weight[3].round(decimals=3).tolist(), optimizer.state_numel()
    ([-0.5, -0.5], 8)
    """

    names = ("mean", "square")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        *,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        state_rows: int | None = None,
    ) -> None:
        if not (lr >= 0 and eps > 0 and weight_decay >= 0 and all(0 <= beta < 1 for beta in betas)):
            raise ValueError(
                "lr and weight_decay must be at least 0, eps above 0 and betas in [0, 1), "
                f"not {lr}, {weight_decay}, {eps} and {betas}"
            )
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**options, "state_rows": state_rows})

    def _update(self, parameter: Tensor, rows: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state_of(parameter, group)
        slots = state.touch(rows)
        first, second = group["betas"]
        count = state.steps[slots].to(gradient.dtype).view(-1, *[1] * (gradient.dim() - 1))
        mean = state.numbers["mean"][slots].lerp_(gradient, 1 - first)
        square = state.numbers["square"][slots].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        state.numbers["mean"][slots], state.numbers["square"][slots] = mean, square
        size = (square / (1 - second**count)).sqrt_().add_(group["eps"])
        step = mean / (1 - first**count) / size
        if group["weight_decay"]:
            step = step.add_(_local(parameter)[rows], alpha=group["weight_decay"])
        _local(parameter).index_add_(0, rows, step, alpha=-group["lr"])


def _rows_of(parameter: Tensor) -> tuple[Tensor, Tensor]:
    """The rows of a sparse gradient, distinct and sorted, and their gradients."""
    gradient = parameter.grad
    assert gradient is not None
    gradient = _local(gradient)
    if gradient.layout != torch.sparse_coo or gradient.sparse_dim() != 1:
        raise ValueError(
            f"the gradient of a parameter of shape {tuple(parameter.shape)} is not row-sparse: give that parameter to "
            "an optimizer of torch.optim"
        )
    gradient = gradient.coalesce()
    return gradient.indices()[0], gradient.values()


def _local(tensor: Tensor) -> Tensor:
    """The shard of this process if the tensor is sharded, else the tensor."""
    if not is_sharded(tensor):
        return tensor
    local: Tensor = tensor.to_local()  # type: ignore[attr-defined]
    return local


__all__ = ["RowSparseAdam", "RowSparseSGD"]
