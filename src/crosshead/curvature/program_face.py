"""The optimum of a quadratic program on one face, on which the maximum of each group is attained by known members.

An interior-point method ends with duals that are quotients of small numbers, and with small α their rounding errors
limit the bound. On the face the program has no inequalities. With c the gradient of groups with one maximal member, d
that of ties m_k − m_l = 0 between maximal members, and multipliers μ for these,

    α(1 − ρ)θ + c + Bᵀμ = 0,    Bθ + d = 0    over the non-zero weights,

is one symmetric system, solved by a factorisation with a regularised diagonal and iterative refinement (as in the
polishing step of OSQP: Stellato and others, Mathematical Programming Computation 12, 2020).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import linalg

from crosshead.curvature.quadratic_program import Program
from crosshead.losses.protocol import Array, Float

MAX_UNKNOWNS = 1500  # of the system: 0.1 s
TINY = float(np.finfo(np.float64).tiny)
ADDED, REFINEMENTS = 1e-8, 12  # regularisation of the diagonal, with entries of B of about one


def optimum_on_face(
    program: Program, slack: Float, dual: Float, weight_slack: Float, weight_dual: Float, theta: Float
) -> Any:
    """Compute θ (K, D + 1) and the residuals (n, K − 1) on the face given by slacks and duals (n, G, 1 + members).

    ``weight_slack`` and ``weight_dual`` are those of (w, −w), (K, D, 2), or (K, 0, 2) without an L1 part. None if the
    system would be large, or has no solution.
    """
    sizes = _sizes(program)
    zero = zero_weights(program, weight_slack, weight_dual)
    margin, members = program.pieces.margin, dual.shape[2] - 1
    lead = dual.argmax(axis=2)
    tight = dual * margin > slack
    np.put_along_axis(tight, lead[:, :, None], False, axis=2)
    row, group, member = np.nonzero(tight)
    moves = np.ones(theta.shape, dtype=bool)
    moves[:, :-1] = ~zero
    free = program.kept[moves.ravel()[program.kept]]
    if len(row) + len(free) > MAX_UNKNOWNS or not len(free):
        return None
    first, second = _class_of(program, row, group, member), _class_of(program, row, group, lead[row, group])
    offset = margin * ((member > 0).astype(float) - (lead[row, group] > 0))
    residual = np.zeros((len(dual), dual.shape[1] * members))
    alone, where = np.nonzero(lead > 0)
    residual[alone, where * members + lead[alone, where] - 1] = 1.0
    slope = program.collect(residual)
    slope[:, :-1] += program.l1_weight * np.sign(theta[:, :-1])
    curvature = np.zeros(theta.shape)
    curvature[:, :-1] = program.l2_weight
    scale = np.tile(np.append(1 / sizes, 1.0), len(theta))[free]
    which, column = np.divmod(free, theta.shape[1])
    sign = (first[:, None] == which).astype(np.float64) - (second[:, None] == which)
    B = sign * program.features[row][:, column] * scale
    size = np.maximum(np.sqrt(np.einsum("ij,ij->i", B, B)), TINY)
    B /= size[:, None]
    found = _solved(
        curvature.ravel()[free] * scale**2,
        B,
        -slope.ravel()[free] * scale,
        -offset / size,
        theta.ravel()[free] / scale,
        program.row_weight[row] * dual[row, group, member] * size,
    )
    if found is None:
        return None
    point = np.zeros(theta.size)
    point[free] = found[0] * scale
    share = np.zeros(dual.shape)
    share[row, group, member] = np.clip(found[1] / size / program.row_weight[row], 0.0, 1.0)
    total = share.sum(axis=2, keepdims=True)
    share /= np.maximum(total, 1.0)
    np.put_along_axis(share, lead[:, :, None], 1 - np.minimum(total, 1.0), axis=2)
    return point.reshape(theta.shape), share[:, :, 1:].reshape(len(dual), -1)


def zero_weights(program: Program, slack: Float, dual: Float) -> Array:
    """The weights (K, D) that are zero: the slack of (w, −w) is smaller, relative to its scale, than the dual."""
    if not dual.shape[1]:
        return np.zeros((len(program.classes), len(program.center)), dtype=bool)
    return np.asarray(dual.min(axis=-1) * program.pieces.margin > slack.max(axis=-1) * _sizes(program))


def _sizes(program: Program) -> Float:
    """The features' standard deviations, (D,)."""
    return np.asarray(np.maximum(np.sqrt(np.mean(program.features[:, :-1] ** 2, axis=0)), TINY))


def _class_of(program: Program, row: Array, group: Array, member: Array) -> Array:
    """The class of a group's member: the row's own for the zero that groups begin with."""
    members = program.group_shape[1]
    other = program.others[row, np.maximum(group * members + member - 1, 0)]
    return np.where(member > 0, other, program.own[row])


def _solved(diagonal: Float, B: Float, right: Float, ends: Float, theta: Float, multipliers: Float) -> Any:
    """Solve diag θ + Bᵀμ = right, Bθ = ends for θ and μ; if they are not unique, closest to the given ones."""
    count = len(diagonal)
    matrix = np.zeros((count + len(B), count + len(B)))
    matrix[:count, count:], matrix[count:, :count] = B.T, B
    np.einsum("ii->i", matrix)[:count] = diagonal + ADDED
    np.einsum("ii->i", matrix)[count:] = -ADDED
    try:
        factor = linalg.lu_factor(matrix, overwrite_a=True, check_finite=False)
    except linalg.LinAlgError:
        return None
    for _ in range(REFINEMENTS):
        left = np.concatenate([right - diagonal * theta - B.T @ multipliers, ends - B @ theta])
        step = linalg.lu_solve(factor, left, check_finite=False)
        if not np.isfinite(step).all():
            return None
        theta, multipliers = theta + step[:count], multipliers + step[count:]
    return theta, multipliers
