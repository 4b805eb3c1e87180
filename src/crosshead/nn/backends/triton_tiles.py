"""Loss and gradients of a linear layer over tiles of classes by Triton kernels, for tensors on an NVIDIA GPU.

The functions are those of `Backend`. The reference implementation, `crosshead.nn.backends.tiles`, computes what
`supports` refuses. Scores never leave the registers. The kernels' memory does not grow with rows × classes:
`SCRATCH_NUMBERS` for partial sums, float32 sums of the features' gradient, and a few numbers a row for each of at most
`PROGRAMS` parts.

The kernels have been run in Triton's interpreter and compiled for the H100 (sm_90), but not run on a GPU. With
CROSSHEAD_TRITON=0 in the environment CUDA tensors use the reference implementation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from crosshead.nn.backends import tiles
from crosshead.nn.backends import triton_kernels as kernels
from crosshead.nn.backends.products import without_autocast
from crosshead.nn.backends.projections import Cosine, Linear, Projection, norms_of_many
from crosshead.nn.backends.protocol import Gradients, Problem
from crosshead.nn.backends.triton_rows import Kernel, kernel_of
from crosshead.nn.row_losses import RowLoss, merged

INTERPRETED = bool(triton.knobs.runtime.interpret)
"""Whether kernels run in Triton's interpreter, on tensors of the CPU."""
LEAST_CAPABILITY = (8, 0)
PROGRAMS = 512
"""Programs that keep a large GPU busy; if a kernel has fewer, its sums are split into parts."""
SCRATCH_NUMBERS = 1 << 24
"""Float32 numbers for partial sums, 64 MB."""
MOST_ROWS = 1 << 29
EXACT_CLASSES = 1 << 24
"""The most classes whose numbers float32 represents exactly."""
LINEAR, COSINE = Linear().key[0], Cosine().key[0]


class Blocks(NamedTuple):
    """The sizes of a tile, and the number of warps and pipeline stages."""

    rows: int
    classes: int
    features: int
    warps: int
    stages: int


BLOCKS = {
    torch.float32: Blocks(64, 64, 32, 8, 2),
    torch.bfloat16: Blocks(64, 128, 64, 8, 2),
    torch.float16: Blocks(64, 128, 32, 8, 2),
}
"""Chosen from the code that is compiled for sm_90: tiles stay in registers, and small GPUs have enough shared memory.
Not chosen by timing."""


def supports(loss: RowLoss, projection: Projection, problem: Problem) -> bool:
    """Whether the kernels have this loss, projection, type and device, and the matrices have contiguous rows."""
    kernel = kernel_of(loss)
    input, weight, targets = problem.input, problem.weight, problem.targets
    if kernel is None or not _has_kernel(projection, kernel, problem):
        return False
    if input.dtype not in BLOCKS or weight.dtype != input.dtype or not _is_supported_device(input.device):
        return False
    if input.numel() == 0 or weight.numel() == 0 or len(input) > MOST_ROWS:
        return False
    if kernel.name == "crammer_singer" and targets.classes > EXACT_CLASSES:
        return False
    if targets.dense is not None and not (kernel.takes_dense_targets and _has_contiguous_rows(targets.dense)):
        return False
    return _has_contiguous_rows(weight)


def _has_kernel(projection: Projection, kernel: Kernel, problem: Problem) -> bool:
    if projection.key[0] == COSINE:
        return problem.bias is None
    return projection.key[0] == LINEAR and kernel.margin_loss is None


def _is_supported_device(device: torch.device) -> bool:
    if INTERPRETED:
        return device.type == "cpu"
    return (
        device.type == "cuda"
        and torch.version.hip is None
        and torch.cuda.get_device_capability(device) >= LEAST_CAPABILITY
    )


def _has_contiguous_rows(matrix: Tensor) -> bool:
    return matrix.stride(1) == 1 or matrix.shape[1] == 1


target_scores = tiles.target_scores


@without_autocast
def states(loss: RowLoss, projection: Projection, problem: Problem, target_score: Tensor | None) -> Tensor:
    """As `crosshead.nn.backends.tiles.states`."""
    call = _Call(loss, projection, problem, target_score)
    rows, classes = len(problem.input), len(problem.weight)
    parts = _parts(rows, call.blocks.rows, classes, call.blocks.classes)
    each = _each(classes, parts, call.blocks.classes)
    parts = -(-classes // each)
    out = problem.input.new_empty((parts, 4, rows), dtype=torch.float32)
    call.run(kernels.states_kernel, (call.blocks.rows, rows), parts, out, call.arrays(), call.numbers, each)
    state = out[0, : len(loss.fields)]
    for part in out[1:, : len(loss.fields)]:
        state = merged(loss.fields, state, part)
    return state


@without_autocast
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
    call = _Call(loss, projection, problem, target_score)
    call.backward = call.row_numbers(loss, state, upstream, target_score)
    weight, bias = call.weight_gradient(wanted[1], wanted[2] and problem.bias is not None)
    return Gradients(call.input_gradient() if wanted[0] else None, weight, bias)


@without_autocast
def states_and_gradients(
    loss: RowLoss,
    projection: Projection,
    problem: Problem,
    target_score: Tensor | None,
    upstream: Tensor,
    wanted: Sequence[bool],
) -> tuple[Tensor, Gradients]:
    """As `crosshead.nn.backends.tiles.states_and_gradients`; the scores are computed twice."""
    state = states(loss, projection, problem, target_score)
    return state, gradients(loss, projection, problem, target_score, state, upstream, wanted)


class _Call:
    """A problem as the arguments of the kernels."""

    def __init__(self, loss: RowLoss, projection: Projection, problem: Problem, target_score: Tensor | None) -> None:
        kernel = kernel_of(loss)
        assert kernel is not None
        if kernel.margin_loss is not None and target_score is None:
            target_score = tiles.target_scores(projection, problem)
        targets = problem.targets
        index = None if targets.index is None else targets.index.contiguous()
        self.kernel = kernel
        self.problem = replace(
            problem, input=problem.input.detach().contiguous(), targets=replace(targets, index=index)
        )
        self.blocks = BLOCKS[problem.input.dtype]
        self.norms = norms_of_many(problem.weight) if projection.key[0] == COSINE else None
        own = kernel.own(loss, targets, target_score)
        self.own = None if own is None else own.to(torch.float32).contiguous()
        self.backward: Tensor | None = None
        smoothing = kernel.label_smoothing
        self.numbers = kernels.Numbers(1 - smoothing, smoothing / targets.classes, kernel.softcap)
        self.plan = _plan(kernel, problem.input.dtype, self.blocks)

    def row_numbers(self, loss: RowLoss, state: Tensor, upstream: Tensor, target_score: Tensor | None) -> Tensor:
        """The numbers of each row that `score_gradient` uses, (3, N)."""
        found = self.kernel.backward(state, upstream, target_score)
        out = upstream.new_zeros((3, len(self.problem.input)), dtype=torch.float32)
        for row, vector in zip(out, found, strict=False):
            row.copy_(vector)
        return out

    def arrays(self, rows: slice = slice(None), classes: slice = slice(None)) -> kernels.Arrays:
        """A part of the problem as the kernels take it."""
        problem = self.problem
        input, weight, targets = problem.input[rows], problem.weight[classes], problem.targets
        scale = None
        if self.norms is not None:
            scale = (1 if self.kernel.margin_loss is None else self.kernel.margin_loss.scale) / self.norms[classes]
        dense = None if targets.dense is None else targets.dense[rows, classes]
        return kernels.Arrays(
            input,
            input.stride(0),
            weight,
            weight.stride(0),
            _part(problem.bias, classes),
            scale,
            _part(targets.index, rows),
            dense,
            0 if dense is None else dense.stride(0),
            _part(targets.class_weight, classes),
            _part(targets.positive_weight, classes),
            None if self.own is None else self.own[:, rows].contiguous(),
            None if self.backward is None else self.backward[:, rows].contiguous(),
            len(input),
            len(weight),
            input.shape[1],
            problem.first_class + (classes.start or 0),
        )

    def run(self, kernel: Any, blocks: tuple[int, int], parts: int, *arguments: Any) -> None:
        """Run a program for each block of ``size`` of a dimension of ``length``, and for each part of the sums."""
        size, length = blocks
        with torch.cuda.device_of(self.problem.input):  # type: ignore[no-untyped-call]
            kernel[(-(-length // size), parts)](
                *arguments, self.plan, num_warps=self.blocks.warps, num_stages=self.blocks.stages
            )

    def weight_gradient(self, wanted: bool, bias_wanted: bool) -> tuple[Tensor | None, Tensor | None]:
        """The gradients of W and the bias, piece by piece of the classes."""
        if not (wanted or bias_wanted):
            return None, None
        problem, block = self.problem, self.blocks.classes
        rows, (classes, features) = len(problem.input), problem.weight.shape
        weight = torch.empty((classes, features), dtype=problem.weight.dtype, device=problem.weight.device)
        bias = problem.input.new_empty(classes)
        for piece, parts in _pieces(classes, block, rows, self.blocks.rows, features if wanted else 1):
            each = _each(rows, parts, self.blocks.rows)
            count, parts = piece.stop - piece.start, -(-rows // each)
            out = self._sums(weight[piece], parts) if wanted else None
            bias_out = problem.input.new_empty((parts, count), dtype=torch.float32) if bias_wanted else None
            arrays = self.arrays(classes=piece)
            self.run(kernels.weight_gradient_kernel, (block, count), parts, out, bias_out, arrays, self.numbers, each)
            if out is not None:
                weight[piece] = self._without_radial_part(_total(out), piece)
            if bias_out is not None:
                bias[piece] = _total(bias_out)
        return weight if wanted else None, bias if bias_wanted else None

    def input_gradient(self) -> Tensor:
        """The gradient of the features, piece by piece of the rows."""
        problem, block = self.problem, self.blocks.rows
        classes, (rows, features) = len(problem.weight), problem.input.shape
        input = torch.empty_like(problem.input)
        for piece, parts in _pieces(rows, block, classes, self.blocks.classes, features):
            each = _each(classes, parts, self.blocks.classes)
            parts = -(-classes // each)
            out = self._sums(input[piece], parts)
            arrays = self.arrays(rows=piece)
            length = piece.stop - piece.start
            self.run(kernels.input_gradient_kernel, (block, length), parts, out, arrays, self.numbers, each)
            input[piece] = _total(out)
        return input

    def _sums(self, result: Tensor, parts: int) -> Tensor:
        """Zeros for partial sums, (parts, …); the result itself if one float32 sum is enough."""
        if parts == 1 and result.dtype == torch.float32:
            return result.zero_()[None]
        return torch.zeros((parts, *result.shape), dtype=torch.float32, device=result.device)

    def _without_radial_part(self, rows: Tensor, piece: slice) -> Tensor:
        """The gradient without its part along w for cosines, because the norm has no influence."""
        if self.norms is None:
            return rows
        unit = self.problem.weight[piece].to(torch.float32) / self.norms[piece][:, None]
        return rows - unit * (unit * rows).sum(dim=1, keepdim=True)


def _plan(kernel: Kernel, dtype: torch.dtype, blocks: Blocks) -> kernels.Plan:
    precision = "tf32" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "ieee"
    half = dtype == torch.float16
    return kernels.Plan(
        loss=kernel.name,
        capped=kernel.softcap > 0,
        margined=kernel.margin_loss is not None,
        rows=blocks.rows,
        classes=blocks.classes,
        features=blocks.features,
        wide=INTERPRETED,  # the interpreter has no products in bfloat16
        precision=precision,
        # Gradients of scores would underflow in float16. TensorFloat-32 has float32's range and float16's precision.
        wide_gradients=INTERPRETED or half,
        gradient_precision="tf32" if half else precision,
        slope_type=tl.bfloat16 if dtype == torch.bfloat16 else tl.float32,
    )


def _parts(length: int, block: int, summed: int, summed_block: int) -> int:
    """The number of parts of a sum that gives about `PROGRAMS` programs."""
    return max(1, min(PROGRAMS // -(-length // block), -(-summed // summed_block)))


def _each(summed: int, parts: int, block: int) -> int:
    """The number of summands in a part, a multiple of the tile size."""
    tiles = -(-summed // block)
    return -(-tiles // parts) * block


def _pieces(length: int, block: int, summed: int, summed_block: int, features: int) -> Iterator[tuple[slice, int]]:
    """Pieces of a gradient whose partial sums fit into `SCRATCH_NUMBERS`, each with the number of parts of its sums."""
    step = max(1, SCRATCH_NUMBERS // (features * block)) * block
    for start in range(0, length, step):
        stop = min(start + step, length)
        room = max(1, SCRATCH_NUMBERS // ((stop - start) * features))
        yield slice(start, stop), min(room, _parts(stop - start, block, summed, summed_block))


def _total(parts: Tensor) -> Tensor:
    return parts[0] if len(parts) == 1 else parts.sum(dim=0)


def _part(vector: Tensor | None, piece: slice) -> Tensor | None:
    return None if vector is None else vector[piece].contiguous()
