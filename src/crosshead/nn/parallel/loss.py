"""The reduced loss of sharded weights: classes and rows are spread over processes.

Every process gathers the features of all rows and computes their scores for its own classes. Target scores merge over
processes by sum, states by the rules that the row loss declares. The gradient of W stays on the process that holds the
rows of W; that of the features is summed over processes and returns to the process that brought the row.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from crosshead.nn.backends import Backend, backend_for, tiles
from crosshead.nn.backends.products import working
from crosshead.nn.backends.projections import Projection
from crosshead.nn.backends.protocol import Problem
from crosshead.nn.fused.inputs import Rows, RowWeights, row_weights_for
from crosshead.nn.fused.operators import recipe_of, refuse_second_derivatives
from crosshead.nn.fused.reduced_loss import reduce_rows
from crosshead.nn.parallel.agreement import accept
from crosshead.nn.parallel.processes import Processes, starts
from crosshead.nn.parallel.shards import local_rows, processes_of, sharded_matrix
from crosshead.nn.row_losses import RowLoss, Targets, merged


@dataclass(frozen=True)
class Layout:
    """How many rows (``counts``) and ``classes`` each rank has, and whether any needs the gradient of the features."""

    processes: Processes
    counts: list[int]
    classes: list[int]
    input_wanted: bool = False

    @property
    def first_class(self) -> int:
        """The number of the first class of this process."""
        return starts(self.classes)[self.processes.rank]

    @property
    def own(self) -> slice:
        """The rows of this process, among those of all processes."""
        start = starts(self.counts)[self.processes.rank]
        return slice(start, start + self.counts[self.processes.rank])

    def slices(self) -> list[slice]:
        """The classes of each process, by rank."""
        begin = starts(self.classes)
        return [slice(first, last) for first, last in pairwise(begin)]


def sharded_loss(
    loss: RowLoss,
    projection: Projection,
    rows: Rows,
    targets: Targets,
    row_weights: RowWeights,
    *,
    reduction: str,
    all_ignored: str,
) -> tuple[Tensor, Tensor]:
    """`reduced_loss` for W (and b) that are `Shard(0)` DTensors, called by all processes of their mesh.

    Rows, targets and ``row_weights`` are those of this process. A mean or a sum is over the rows of all processes, the
    same number on each; rows that are not reduced are those of this process. Backward gives the gradients of the sum
    over processes of what each calls backward on, in which a mean or a sum counts once.
    """
    weight = local_rows(rows.weight)
    bias = None if rows.bias is None else sharded_matrix(rows.bias).to_local()
    layout = _agreed(loss, projection, rows, targets, weight, f"{reduction} {all_ignored}")
    processes = layout.processes
    local_targets = _local_targets(targets, layout)
    outputs = _Rows.apply(_Step(layout, loss, projection), local_targets, rows.input, weight, bias)  # type: ignore[no-untyped-call]
    if row_weights.denominator is not None:
        row_weights = row_weights_for(row_weights.undivided, "mean", processes.all_reduce(row_weights.denominator))

    def total(amounts: Tensor) -> Tensor:
        found: Tensor = _Total.apply(processes, amounts.sum())  # type: ignore[no-untyped-call]
        return found

    return reduce_rows(outputs, rows, row_weights, reduction, all_ignored, total)


def merged_over_processes(loss: RowLoss, state: Tensor, processes: Processes) -> Tensor:
    """The state of each row over the classes of all processes, from that over the local classes, both (fields, N).

    Every process merges in the order of ranks, so that all get the same bits. A NaN on any process stays a NaN.
    """
    return reduce(lambda first, second: merged(loss.fields, first, second), processes.all_gather(state))


def _agreed(loss: RowLoss, projection: Projection, rows: Rows, targets: Targets, weight: Tensor, mode: str) -> Layout:
    """The layout; the same ValueError on all processes if their arguments do not fit together."""
    accept()
    processes = processes_of(rows.weight)
    each = projection.rows_per_class
    what = f"{recipe_of(loss, projection)} {mode}"
    local = [
        len(rows.input),
        len(weight) // each,
        int(rows.wanted[0]),
        len(weight) % each,
        zlib.crc32(what.encode()),
        zlib.crc32(str(rows.input.dtype).encode()),
        int(targets.dense is not None),
        int(targets.parameters is not None),
        int(any(rows.wanted)),
    ]
    found = processes.gather_integers(local, rows.input.device)
    counts, classes, input_wanted, split, *same = (list(column) for column in zip(*found, strict=True))
    if any(split):
        raise ValueError(f"the {each} rows of W of a class must be on one process, as ClassParallelHead has them")
    names = (
        "losses or options that differ",
        "features of types that differ",
        "some class numbers, some a number for each class",
        "margins for all rows, some one for each",
        "features and parameters of which some need gradients and some do not",
    )
    for name, column in zip(names, same, strict=True):
        if len(set(column)) > 1:
            raise ValueError(f"the ranks of a class-parallel loss have {name}: give all the same")
    return Layout(processes, counts, classes, any(input_wanted))


def _local_targets(targets: Targets, layout: Layout) -> Targets:
    """The targets of all rows, for the local classes."""
    processes, counts = layout.processes, layout.counts
    slices = layout.slices()
    local = slices[processes.rank]
    dense = None
    if targets.dense is not None:
        given = targets.dense
        shapes = [(count, layout.classes[processes.rank]) for count in counts]
        dense = torch.cat(processes.all_to_all([given[:, part] for part in slices], shapes))
    return Targets(
        targets.classes,
        None if targets.index is None else processes.gather_rows(targets.index, counts),
        dense,
        None if targets.class_weight is None else targets.class_weight[local],
        None if targets.positive_weight is None else targets.positive_weight[local],
        None if targets.parameters is None else processes.gather_rows(targets.parameters.t(), counts).t(),
    )


@dataclass(frozen=True)
class _Step:
    layout: Layout
    loss: RowLoss
    projection: Projection

    def backend(self, problem: Problem) -> Backend:
        return backend_for(self.loss, self.projection, problem) if len(problem.weight) else tiles


class _Rows(torch.autograd.Function):
    """The outputs of the rows of this process, (outputs, n), from its features and its shards of W and b."""

    @staticmethod
    def forward(ctx: Any, step: _Step, targets: Targets, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        layout, loss, projection = step.layout, step.loss, step.projection
        features = layout.processes.gather_rows(input, layout.counts)
        problem = Problem(features, weight, bias, targets, layout.first_class)
        backend = step.backend(problem)
        own = (
            layout.processes.all_reduce(backend.target_scores(projection, problem)) if loss.needs_target_score else None
        )
        state = merged_over_processes(loss, backend.states(loss, projection, problem, own), layout.processes)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(features, weight, bias, own, state)
        ctx.step, ctx.targets = step, targets
        return loss.value(state, targets, own)[:, layout.own].clone()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor | None) -> Any:
        refuse_second_derivatives()
        if upstream is None:
            return (None,) * 5
        features, weight, bias, own, state = ctx.saved_tensors
        step, layout = ctx.step, ctx.step.layout
        problem = Problem(features, weight, bias, ctx.targets, layout.first_class)
        upstreams = layout.processes.gather_rows(upstream.t(), layout.counts).t()
        _, _, input_here, weight_here, bias_here = ctx.needs_input_grad
        wanted: Sequence[bool] = (layout.input_wanted, weight_here, bias_here)
        found = step.backend(problem).gradients(step.loss, step.projection, problem, own, state, upstreams, wanted)
        input = None
        if found.input is not None:
            total = layout.processes.reduce_scatter_rows(working(found.input), layout.counts).to(features.dtype)
            input = total if input_here else None
        return None, None, input, found.weight if weight_here else None, found.bias if bias_here else None


class _Total(torch.autograd.Function):
    """The sum over processes. All call backward on it, but it counts once: the gradient is not summed."""

    @staticmethod
    def forward(ctx: Any, processes: Processes, amount: Tensor) -> Tensor:
        return processes.all_reduce(amount)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        return None, upstream
