"""Eigenvectors of symmetric matrices, with a fallback if LAPACK's best driver fails."""

from __future__ import annotations

from scipy import linalg

from crosshead.losses.protocol import Float


def eigenvectors(matrix: Float) -> tuple[Float, Float]:
    """Compute eigenvalues in rising order (n,) and eigenvectors in columns (n, n).

    Relatively robust representations separate small eigenvalues from zero better than divide and conquer, but fail with
    an internal error on matrices with clustered eigenvalues, such as the class matrices of a few hinge rows.

    >>> import numpy as np
    >>> eigenvectors(np.array([[2.0, 0.0], [0.0, 1.0]]))[0].tolist()
    [1.0, 2.0]
    """
    try:
        values, vectors = linalg.eigh(matrix, check_finite=False)
    except linalg.LinAlgError:
        values, vectors = linalg.eigh(matrix, driver="evd", check_finite=False)
    return values, vectors
