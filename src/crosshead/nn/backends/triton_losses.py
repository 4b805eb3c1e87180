"""The row losses in Triton: the state of a tile of scores, and the gradient of its scores.

The formulas are those of `crosshead.nn.row_losses`, the reference implementation. What a tile needs of its rows besides
scores is computed before, by `triton_rows`.

A tile is (rows, classes); ``inside`` (classes,) says which of its classes exist.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def hyperbolic_tangent(x):
    """Tanh x to a few units in the last place: a series near 0, where the quotient would cancel."""
    power = tl.exp(-2.0 * tl.abs(x))
    far = (1.0 - power) / (1.0 + power)
    s = x * x
    near = 1.0 + s * (-1.0 / 3.0 + s * (2.0 / 15.0 + s * (-17.0 / 315.0 + s * (62.0 / 2835.0))))
    return tl.where(tl.abs(x) < 0.25, x * near, tl.where(x < 0, -far, far))


@triton.jit
def softplus(x):
    """log(1 + exp x) without overflow, and accurate where it is tiny: log(1 + e) = 2·artanh(e/(2 + e))."""
    e = tl.exp(-tl.abs(x))
    t = e / (2.0 + e)
    s = t * t
    series = 1.0 / 11.0 + s * (1.0 / 13.0 + s * (1.0 / 15.0 + s / 17.0))
    series = 1.0 + s * (1.0 / 3.0 + s * (1.0 / 5.0 + s * (1.0 / 7.0 + s * (1.0 / 9.0 + s * series))))
    return tl.maximum(x, 0.0, propagate_nan=tl.PropagateNan.ALL) + 2.0 * t * series


@triton.jit
def empty_state(LOSS: tl.constexpr, BLOCK_ROWS: tl.constexpr):
    """The state of no classes: four numbers a row, of which a loss uses the first ones."""
    zero = tl.zeros([BLOCK_ROWS], tl.float32)
    if LOSS == "softmax":
        return zero - float("inf"), zero, zero, zero
    elif LOSS == "crammer_singer":
        return zero - float("inf"), zero + float("inf"), zero, zero
    else:
        return zero, zero, zero, zero


@triton.jit
def target_weights(numbers, answers, weight, inside):
    """The target distribution times class weights, q·w with q = (1 − ε)·y + ε/C."""
    q = numbers.keep * answers + numbers.each
    if weight is not None:
        q = q * weight[None, :]
    return tl.where(inside[None, :], q, 0.0)


@triton.jit
def capped(z, softcap, CAPPED: tl.constexpr):
    """κ·tanh(z/κ)."""
    if CAPPED:
        z = softcap * hyperbolic_tangent(z / softcap)
    return z


@triton.jit
def violation_of(z, lift, answers, inside):
    """max(0, z − z_y + Δ) for the wrong classes; ``lift`` is Δ − z_y."""
    wrong = inside[None, :] & (answers == 0)
    return tl.where(wrong, tl.maximum(z + lift[:, None], 0.0, propagate_nan=tl.PropagateNan.ALL), 0.0)


@triton.jit
def weighted(terms, weight, inside):
    """The terms of a loss with a term for each class, times the class weights."""
    if weight is not None:
        terms = terms * weight[None, :]
    return tl.where(inside[None, :], terms, 0.0)


@triton.jit
def positive_and_negative(answers, positive_weight):
    """V·t and 1 − t."""
    yes = answers
    if positive_weight is not None:
        yes = yes * positive_weight[None, :]
    return yes, 1.0 - answers


@triton.jit
def updated_state(
    state, z, answers, lift, number, weight, positive_weight, inside, numbers, LOSS: tl.constexpr, CAPPED: tl.constexpr
):
    """The state with this tile added. ``number`` (classes,) are the numbers of the classes."""
    a, b, c, d = state
    if LOSS == "softmax":
        z = tl.where(inside[None, :], capped(z, numbers.softcap, CAPPED), -float("inf"))
        q = target_weights(numbers, answers, weight, inside)
        top = tl.maximum(a, tl.max(z, axis=1))
        shift = tl.where(top == -float("inf"), 0.0, top)
        b = b * tl.exp(a - shift) + tl.sum(tl.exp(z - shift[:, None]), axis=1)
        # −∞ times 0 counts as 0: a bias of −∞ excludes a class.
        c += tl.sum(q * tl.where(q == 0, 0.0, z), axis=1)
        d += tl.sum(q, axis=1)
        a = top
    elif LOSS == "hinge":
        violation = violation_of(z, lift, answers, inside)
        a += tl.sum(violation, axis=1)
        b += tl.sum((violation > 0).to(tl.float32), axis=1)
    elif LOSS == "squared_hinge":
        violation = violation_of(z, lift, answers, inside)
        a += tl.sum(violation * violation, axis=1)
        b += 2.0 * tl.sum(violation, axis=1)
    elif LOSS == "crammer_singer":
        wrong = inside[None, :] & (answers == 0)
        z = tl.where(wrong, z, -float("inf"))
        top = tl.max(z, axis=1)
        first = tl.min(tl.where(wrong & (z == top[:, None]), number.to(tl.float32)[None, :], float("inf")), axis=1)
        b = tl.where(top > a, first, tl.where(top == a, tl.minimum(b, first), b))
        a = tl.maximum(a, top)
        c += tl.sum((z != z).to(tl.float32), axis=1)
    elif LOSS == "binary":
        yes, no = positive_and_negative(answers, positive_weight)
        a += tl.sum(weighted(softplus(z) * no + softplus(-z) * yes, weight, inside), axis=1)
    else:
        tl.static_assert(LOSS == "squared_error")
        error = z - answers
        a += tl.sum(weighted(error * error, weight, inside), axis=1)
    return a, b, c, d


@triton.jit
def final_state(state, LOSS: tl.constexpr):
    """The state that the kernel writes: a maximum over scores with a NaN among them is NaN."""
    a, b, c, d = state
    if LOSS == "crammer_singer":
        a = tl.where(c > 0, float("nan"), a)
    return a, b, c, d


@triton.jit
def score_gradient(
    z,
    answers,
    lift,
    first,
    second,
    third,
    number,
    weight,
    positive_weight,
    inside,
    numbers,
    LOSS: tl.constexpr,
    CAPPED: tl.constexpr,
):
    """The gradient with respect to the scores; ``first`` … ``third`` are `Kernel.backward`'s numbers of the rows."""
    if LOSS == "softmax":
        z = capped(z, numbers.softcap, CAPPED)
        q = target_weights(numbers, answers, weight, inside)
        slope = tl.exp(z - first[:, None]) * second[:, None] - third[:, None] * q
        if CAPPED:
            ratio = z / numbers.softcap
            slope = slope * (1.0 - ratio * ratio)
    elif LOSS == "hinge":
        violation = violation_of(z, lift, answers, inside)
        slope = (violation > 0).to(tl.float32) * first[:, None] + answers * second[:, None]
    elif LOSS == "squared_hinge":
        violation = violation_of(z, lift, answers, inside)
        slope = 2.0 * violation * first[:, None] + answers * second[:, None]
    elif LOSS == "crammer_singer":
        worst = number.to(tl.float32)[None, :] == first[:, None]
        slope = (worst.to(tl.float32) - answers) * second[:, None]
    elif LOSS == "binary":
        yes, no = positive_and_negative(answers, positive_weight)
        slope = weighted(tl.sigmoid(z) * no - tl.sigmoid(-z) * yes, weight, inside) * first[:, None]
    else:
        tl.static_assert(LOSS == "squared_error")
        slope = weighted(z - answers, weight, inside) * first[:, None]
    return tl.where(inside[None, :], slope, 0.0)
