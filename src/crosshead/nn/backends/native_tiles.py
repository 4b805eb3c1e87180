"""Loss and gradients of a linear layer over tiles of classes by the native kernels, for tensors on the CPU.

The functions are those of `Backend`. The reference implementation, `crosshead.nn.backends.tiles`, computes what
`supports` refuses. Features and weight are read without a copy. The kernels' memory does not grow with rows × classes:
a packed copy of the features, `ROOM` for scores and their gradients, and a few numbers a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from crosshead.nn.backends import tiles
from crosshead.nn.backends.native_arrays import (
    NUMBERS,
    is_matrix,
    is_readable,
    is_target_matrix,
    padded_state,
    vector,
    view,
)
from crosshead.nn.backends.native_kernels import Kernel, kernel_of
from crosshead.nn.backends.products import accumulation_type
from crosshead.nn.backends.projections import Cosine, Linear, Projection, norms_of_many
from crosshead.nn.backends.protocol import Gradients, Problem
from crosshead.nn.row_losses import RowLoss

try:
    from crosshead import _native
except ImportError:  # built without a C++ compiler
    _native = None  # type: ignore[assignment]

ROOM = 52_000_000
"""Bytes for scores that are kept from the loss to the gradient. If a block of rows needs more, they are recomputed."""
LINEAR, COSINE = Linear().key[0], Cosine().key[0]
EXACT_CLASSES = 1 << 24
"""The most classes whose numbers float32 represents exactly."""

target_scores = tiles.target_scores


def supports(loss: RowLoss, projection: Projection, problem: Problem) -> bool:
    """Whether the kernels have this loss and projection, and can read all tensors without a copy."""
    kernel = kernel_of(loss)
    if _native is None or kernel is None or not _has_kernel(projection, kernel, problem):
        return False
    input, weight, targets = problem.input, problem.weight, problem.targets
    tensors = [input, weight, problem.bias, targets.index, targets.dense, targets.class_weight, targets.positive_weight]
    if not all(is_readable(tensor) for tensor in tensors) or weight.dtype != input.dtype:
        return False
    if input.numel() == 0 or input.dtype not in NUMBERS or not is_matrix(weight) or len(weight) > EXACT_CLASSES:
        return False
    return targets.dense is None or is_target_matrix(targets.dense, input)


def _has_kernel(projection: Projection, kernel: Kernel, problem: Problem) -> bool:
    if projection.key[0] == COSINE:
        return problem.bias is None
    return projection.key[0] == LINEAR and kernel.scale == 1


def states(loss: RowLoss, projection: Projection, problem: Problem, target_score: Tensor | None) -> Tensor:
    """As `crosshead.nn.backends.tiles.states`."""
    return _Call(loss, projection, problem, target_score).states()


def gradients(
    loss: RowLoss,
    projection: Projection,
    problem: Problem,
    target_score: Tensor | None,
    state: Tensor,
    upstream: Tensor,
    wanted: Sequence[bool],
) -> Gradients:
    """As `crosshead.nn.backends.tiles.gradients`."""
    return _Call(loss, projection, problem, target_score).gradients(state, upstream, wanted)


def states_and_gradients(
    loss: RowLoss,
    projection: Projection,
    problem: Problem,
    target_score: Tensor | None,
    upstream: Tensor,
    wanted: Sequence[bool],
) -> tuple[Tensor, Gradients]:
    """As `crosshead.nn.backends.tiles.states_and_gradients`."""
    return _Call(loss, projection, problem, target_score).states_and_gradients(upstream, wanted)


class _Call:
    """A problem as the arguments of the kernels."""

    def __init__(self, loss: RowLoss, projection: Projection, problem: Problem, target_score: Tensor | None) -> None:
        kernel = kernel_of(loss)
        assert kernel is not None
        self.fields = len(loss.fields)
        self.numbers_classes = kernel.name == "crammer_singer"
        self.problem = problem
        self.wide = accumulation_type(problem.input.dtype)
        self.input = problem.input.detach().contiguous()
        self.arguments = self._arguments(kernel, projection, target_score)

    def _arguments(self, kernel: Kernel, projection: Projection, target_score: Tensor | None) -> dict[str, Any]:
        problem, targets, wide = self.problem, self.problem.targets, self.wide
        scale, slope = None, None
        if projection.key[0] == COSINE:
            scale = kernel.scale / norms_of_many(problem.weight)
        if kernel.margin_loss is not None:
            own, slope = kernel.margin_loss.with_margin(target_scores(projection, problem), targets)
            target_score = own * kernel.scale
        index = None if targets.index is None else targets.index.to(torch.int64).contiguous()
        return {
            "isa": "",
            "number": NUMBERS[self.input.dtype],
            "input": view(self.input),
            "weight": view(problem.weight),
            "bias": vector(problem.bias, wide),
            "class_scale": vector(scale, wide),
            "class_weight": vector(targets.class_weight, wide),
            "positive_weight": vector(targets.positive_weight, wide),
            "labels": view(index),
            "first_class": problem.first_class,
            "all_classes": targets.classes,
            "soft_target": view(targets.dense),
            "target_score": vector(target_score, wide),
            "slope": vector(slope, wide),
            "loss": kernel.name,
            "margin": kernel.margin,
            "label_smoothing": kernel.label_smoothing,
            "softcap": kernel.softcap,
            "z_loss": kernel.z_loss,
            "plan": "automatic",
            "room": ROOM,
            "threads": torch.get_num_threads(),
        }

    def states(self) -> Tensor:
        state = self._empty_state()
        self._run(state, known=False, upstream=None, gradients=Gradients(None, None, None))
        return self._state_of_loss(state)

    def gradients(self, state: Tensor, upstream: Tensor, wanted: Sequence[bool]) -> Gradients:
        found = self._empty_gradients(wanted)
        self._run(self._state_of_kernel(state), known=True, upstream=upstream, gradients=found)
        return self._in_own_types(found)

    def states_and_gradients(self, upstream: Tensor, wanted: Sequence[bool]) -> tuple[Tensor, Gradients]:
        state, found = self._empty_state(), self._empty_gradients(wanted)
        self._run(state, known=False, upstream=upstream, gradients=found)
        return self._state_of_loss(state), self._in_own_types(found)

    def _run(self, state: Tensor, *, known: bool, upstream: Tensor | None, gradients: Gradients) -> None:
        rows = None if upstream is None else upstream.detach().to(self.wide)
        _native.head(
            **self.arguments,
            state=view(state),
            state_known=known,
            upstream=None if rows is None else view(rows[0].contiguous()),
            lse_upstream=None if rows is None or len(rows) < 2 else view(rows[1].contiguous()),
            input_gradient=view(gradients.input),
            weight_gradient=view(gradients.weight),
            bias_gradient=view(gradients.bias),
        )

    def _empty_state(self) -> Tensor:
        return torch.empty((4, len(self.input)), dtype=self.wide)

    def _empty_gradients(self, wanted: Sequence[bool]) -> Gradients:
        problem = self.problem
        return Gradients(
            torch.empty_like(self.input) if wanted[0] else None,
            torch.empty(problem.weight.shape, dtype=problem.weight.dtype) if wanted[1] else None,
            torch.empty(problem.bias.shape, dtype=self.wide) if wanted[2] and problem.bias is not None else None,
        )

    def _in_own_types(self, found: Gradients) -> Gradients:
        bias = None if found.bias is None else found.bias.to(self.input.dtype)
        return Gradients(found.input, found.weight, bias)

    def _state_of_loss(self, state: Tensor) -> Tensor:
        """The kernels' state as the loss defines it; the kernels number classes from the first local one."""
        out = state[: self.fields].clone()
        if self.numbers_classes:
            out[1] += self.problem.first_class
        return out

    def _state_of_kernel(self, state: Tensor) -> Tensor:
        out = padded_state(state.detach().to(self.wide))
        if self.numbers_classes:
            out[1] -= self.problem.first_class
        return out
