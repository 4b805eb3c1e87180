"""Eigenvectors of symmetric matrices, also of those that LAPACK's best driver gives up on."""

from __future__ import annotations

from scipy import linalg

from crosshead.losses.protocol import Float


def eigenvectors(matrix: Float) -> tuple[Float, Float]:
    """Eigenvalues in rising order (n,) and their vectors in columns (n, n).

    Relatively robust representations tell small eigenvalues from zero better than divide and conquer does, but fail
    with an internal error on matrices whose eigenvalues cluster, such as the class matrices of a few hinge rows.

    >>> import numpy as np
    >>> eigenvectors(np.array([[2.0, 0.0], [0.0, 1.0]]))[0].tolist()
    [1.0, 2.0]
    """
    try:
        values, vectors = linalg.eigh(matrix, check_finite=False)
    except linalg.LinAlgError:
        values, vectors = linalg.eigh(matrix, driver="evd", check_finite=False)
    return values, vectors
