"""Preconditioned conjugate gradients (Hestenes and Stiefel, Journal of Research of the NBS 49, 1952)."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from scipy.linalg.blas import daxpy

from crosshead.solvers.protocol import Float


class Curvature(Protocol):
    """A symmetric positive semidefinite matrix, defined by its products, with a preconditioner."""

    def multiply(self, direction: Float) -> Float: ...  # noqa: D102
    def precondition(self, vector: Float) -> Float: ...  # noqa: D102


def conjugate_gradients(matrix: Curvature, right: Float, forcing: float, most: int) -> Float:
    """Solve matrix · x ≈ ``right``, from zero, with at most ``most`` products; ``right`` becomes the residual.

    Ends when the residual in the preconditioner's norm, √(rᵀ M r), is ``forcing`` times the first.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # an overflow ends the loop before it is used
        return _iterate(matrix, right, forcing, most)


def _iterate(matrix: Curvature, right: Float, forcing: float, most: int) -> Float:
    solution, residual, reach = np.zeros_like(right), right, 0.0
    scaled = matrix.precondition(residual)
    along, product = scaled.copy(), float(residual @ scaled)
    enough = forcing**2 * product
    del scaled
    for _ in range(most):
        if not product > enough:
            break
        image = matrix.multiply(along)
        curvature = float(along @ image)
        if not curvature > 0:
            break
        length = product / curvature
        reach += length * max(float(along.max()), -float(along.min()))
        if not np.isfinite(reach):  # the solution would overflow
            break
        daxpy(along, solution, a=length)  # in place: vectors may be as large as X
        daxpy(image, residual, a=-length)
        del image
        scaled = matrix.precondition(residual)
        previous, product = product, float(residual @ scaled)
        along *= product / previous
        along += scaled
        del scaled
    return solution
