"""Fused heads as Triton kernels: states, gradient of W, gradient of the features, tile by tile.

Every number of a result is summed by one program in a fixed order, or in a fixed number of parts that are added later.
There are no atomic operations, so every run gives the same bits. Scores stay in registers, and each kernel computes
them again. Sums are float32.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from crosshead.nn.backends.triton_losses import empty_state, final_state, score_gradient, updated_state


class Arrays(NamedTuple):
    """A problem's tensors, or None, and its sizes. Strides are those of rows; rows are contiguous.

    ``own`` (2, rows) is the score of the row's own class with its margin, and the derivative; for hinges it is Δ − z_y
    and 0. ``backward`` (3, rows) is for `crosshead.nn.backends.triton_losses.score_gradient`.
    """

    input: Any
    input_stride: Any
    weight: Any
    weight_stride: Any
    bias: Any
    class_scale: Any
    index: Any
    dense: Any
    dense_stride: Any
    class_weight: Any
    positive_weight: Any
    own: Any
    backward: Any
    rows: Any
    classes: Any
    features: Any
    first_class: Any


class Numbers(NamedTuple):
    """The parameters of a loss: 1 − ε, ε/C, and the soft cap."""

    keep: Any
    each: Any
    softcap: Any


class Plan(NamedTuple):
    """The constants that a kernel is compiled with.

    ``loss`` and ``capped`` choose the formulas; with ``margined`` the own class's score has a margin. ``rows``,
    ``classes`` and ``features`` are the sizes of a tile. ``wide`` converts the operands of products to float32,
    ``wide_gradients`` those of the gradients' products; ``precision`` and ``gradient_precision`` say how float32 is
    multiplied. ``slope_type`` is the type of the scores' gradients in products.
    """

    loss: Any
    capped: Any
    margined: Any
    rows: Any
    classes: Any
    features: Any
    wide: Any
    precision: Any
    wide_gradients: Any
    gradient_precision: Any
    slope_type: Any


@triton.jit
def product(left, right, sum, WIDE: tl.constexpr, PRECISION: tl.constexpr):
    """Sum + left · right in float32."""
    if WIDE:
        left, right = left.to(tl.float32), right.to(tl.float32)
    return tl.dot(left, right, sum, input_precision=PRECISION)


@triton.jit
def vector(pointer, at, mask):
    """Numbers of rows or classes in float32; None stays None."""
    if pointer is None:
        return None
    else:
        return tl.load(pointer + at, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def input_tile(arrays, rows, depth):
    """Features of some rows, (rows, depth)."""
    mask = (rows < arrays.rows)[:, None] & (depth < arrays.features)[None, :]
    start = arrays.input + rows.to(tl.int64)[:, None] * arrays.input_stride
    return tl.load(start + depth[None, :], mask=mask, other=0.0)


@triton.jit
def weight_tile(arrays, columns, depth):
    """Rows of W of some classes, (classes, depth)."""
    mask = (columns < arrays.classes)[:, None] & (depth < arrays.features)[None, :]
    start = arrays.weight + columns.to(tl.int64)[:, None] * arrays.weight_stride
    return tl.load(start + depth[None, :], mask=mask, other=0.0)


@triton.jit
def answer_tile(arrays, rows, columns):
    """The targets: 1 in the column of the row's class, or the dense targets."""
    inside = (rows < arrays.rows)[:, None] & (columns < arrays.classes)[None, :]
    if arrays.dense is not None:
        start = arrays.dense + rows.to(tl.int64)[:, None] * arrays.dense_stride
        return tl.load(start + columns[None, :], mask=inside, other=0.0).to(tl.float32)
    else:
        index = tl.load(arrays.index + rows, mask=rows < arrays.rows, other=-1)
        own = index[:, None] == (arrays.first_class + columns)[None, :]
        return (own & inside).to(tl.float32)


@triton.jit
def score_tile(arrays, rows, columns, plan: tl.constexpr):
    """The scores of some rows and classes."""
    z = tl.zeros([plan.rows, plan.classes], tl.float32)
    for start in range(0, arrays.features, plan.features):
        depth = start + tl.arange(0, plan.features)
        weight = tl.trans(weight_tile(arrays, columns, depth))
        z = product(input_tile(arrays, rows, depth), weight, z, plan.wide, plan.precision)
    inside = columns < arrays.classes
    if arrays.class_scale is not None:
        z = z * vector(arrays.class_scale, columns, inside)[None, :]
    if arrays.bias is not None:
        z = z + vector(arrays.bias, columns, inside)[None, :]
    return z


@triton.jit
def margined(z, own, answers, plan: tl.constexpr):
    """The scores, with the margin in the column of the row's own class."""
    if plan.margined:
        z = tl.where(answers != 0, own[:, None], z)
    return z


@triton.jit
def slope_tile(arrays, numbers, rows, columns, plan: tl.constexpr):
    """The gradient with respect to X Wᵀ for some rows and classes; 0 for rows and classes that do not exist."""
    z = score_tile(arrays, rows, columns, plan)
    known, inside = rows < arrays.rows, columns < arrays.classes
    answers = answer_tile(arrays, rows, columns)
    own = vector(arrays.own, rows, known)
    first = tl.load(arrays.backward + rows, mask=known, other=0.0)
    second = tl.load(arrays.backward + arrays.rows + rows, mask=known, other=0.0)
    third = tl.load(arrays.backward + 2 * arrays.rows + rows, mask=known, other=0.0)
    slope = score_gradient(
        margined(z, own, answers, plan),
        answers,
        own,
        first,
        second,
        third,
        arrays.first_class + columns,
        vector(arrays.class_weight, columns, inside),
        vector(arrays.positive_weight, columns, inside),
        inside,
        numbers,
        plan.loss,
        plan.capped,
    )
    if plan.margined:
        derivative = tl.load(arrays.own + arrays.rows + rows, mask=known, other=0.0)
        slope = tl.where(answers != 0, slope * derivative[:, None], slope)
    return tl.where(known[:, None], slope, 0.0)


@triton.jit
def scaled_slope(slope, arrays, columns):
    """Back through the classes' scales."""
    if arrays.class_scale is not None:
        slope = slope * vector(arrays.class_scale, columns, columns < arrays.classes)[None, :]
    return slope


@triton.jit
def states_kernel(out, arrays, numbers, classes_each, plan: tl.constexpr):
    """The state of a block of rows over ``classes_each`` classes, into ``out`` (parts, 4, rows)."""
    rows = tl.program_id(0) * plan.rows + tl.arange(0, plan.rows)
    known = rows < arrays.rows
    first = tl.program_id(1) * classes_each
    own = vector(arrays.own, rows, known)
    state = empty_state(plan.loss, plan.rows)
    for start in range(first, tl.minimum(first + classes_each, arrays.classes), plan.classes):
        columns = start + tl.arange(0, plan.classes)
        inside = columns < arrays.classes
        z = score_tile(arrays, rows, columns, plan)
        answers = answer_tile(arrays, rows, columns)
        state = updated_state(
            state,
            margined(z, own, answers, plan),
            answers,
            own,
            arrays.first_class + columns,
            vector(arrays.class_weight, columns, inside),
            vector(arrays.positive_weight, columns, inside),
            inside,
            numbers,
            plan.loss,
            plan.capped,
        )
    a, b, c, d = final_state(state, plan.loss)
    to = out + tl.program_id(1).to(tl.int64) * 4 * arrays.rows + rows
    tl.store(to, a, mask=known)
    tl.store(to + arrays.rows, b, mask=known)
    tl.store(to + 2 * arrays.rows, c, mask=known)
    tl.store(to + 3 * arrays.rows, d, mask=known)


@triton.jit
def weight_gradient_kernel(out, bias_out, arrays, numbers, rows_each, plan: tl.constexpr):
    """Gᵀ X of a block of classes over ``rows_each`` rows, added to ``out`` (parts, classes, features).

    The sums of G over rows go to ``bias_out`` (parts, classes). Either may be None.
    """
    columns = tl.program_id(0) * plan.classes + tl.arange(0, plan.classes)
    inside = columns < arrays.classes
    first = tl.program_id(1) * rows_each
    place = tl.program_id(1).to(tl.int64) * arrays.classes + columns
    total = tl.zeros([plan.classes], tl.float32)
    for start in range(first, tl.minimum(first + rows_each, arrays.rows), plan.rows):
        rows = start + tl.arange(0, plan.rows)
        slope = slope_tile(arrays, numbers, rows, columns, plan)
        total += tl.sum(slope, axis=0)
        if out is not None:
            slope = tl.trans(scaled_slope(slope, arrays, columns).to(plan.slope_type))
            for depth_start in range(0, arrays.features, plan.features):
                depth = depth_start + tl.arange(0, plan.features)
                to = out + place[:, None] * arrays.features + depth[None, :]
                mask = inside[:, None] & (depth < arrays.features)[None, :]
                sum = tl.load(to, mask=mask, other=0.0)
                features = input_tile(arrays, rows, depth)
                sum = product(slope, features, sum, plan.wide_gradients, plan.gradient_precision)
                tl.store(to, sum, mask=mask)
            tl.debug_barrier()  # another thread may load in the next round what one has stored
    if bias_out is not None:
        tl.store(bias_out + place, total, mask=inside)


@triton.jit
def input_gradient_kernel(out, arrays, numbers, classes_each, plan: tl.constexpr):
    """G W of a block of rows over ``classes_each`` classes, added to ``out`` (parts, rows, features)."""
    rows = tl.program_id(0) * plan.rows + tl.arange(0, plan.rows)
    known = rows < arrays.rows
    first = tl.program_id(1) * classes_each
    place = tl.program_id(1).to(tl.int64) * arrays.rows + rows
    for start in range(first, tl.minimum(first + classes_each, arrays.classes), plan.classes):
        columns = start + tl.arange(0, plan.classes)
        slope = scaled_slope(slope_tile(arrays, numbers, rows, columns, plan), arrays, columns).to(plan.slope_type)
        for depth_start in range(0, arrays.features, plan.features):
            depth = depth_start + tl.arange(0, plan.features)
            to = out + place[:, None] * arrays.features + depth[None, :]
            mask = known[:, None] & (depth < arrays.features)[None, :]
            sum = tl.load(to, mask=mask, other=0.0)
            weight = weight_tile(arrays, columns, depth)
            sum = product(slope, weight, sum, plan.wide_gradients, plan.gradient_precision)
            tl.store(to, sum, mask=mask)
        tl.debug_barrier()  # another thread may load in the next round what one has stored
