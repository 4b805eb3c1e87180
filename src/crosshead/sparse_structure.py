"""Validation of the arrays of a sparse matrix, before SciPy or a kernel uses them without checks.

SciPy's compiled conversions, row slices and products trust indices and row starts; invalid ones access memory outside
the matrix. Every check is plain NumPy, one pass over the indices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Array = NDArray[Any]

LARGEST_SIZE = (1 << 63) - 1


def shape_fault(shape: Sequence[Any]) -> str | None:
    """The fault in the shape of a matrix, if any.

    Examples
    --------
    >>> shape_fault((3, -1))
    'its shape (3, -1) is not two sizes'
    """
    sizes = [int(size) for size in shape if isinstance(size, int | np.integer) and not isinstance(size, bool)]
    if len(shape) != 2 or len(sizes) != 2 or not all(0 <= size <= LARGEST_SIZE for size in sizes):
        return f"its shape {tuple(shape)} is not two sizes"
    return None


def compressed_fault(starts: Array, indices: Array, n_values: int, n_rows: int, n_columns: int) -> str | None:
    """What is wrong with rows ``starts`` (n_rows + 1,) of ``indices``, CSR's or, of columns, CSC's; None if nothing.

    Examples
    --------
    >>> compressed_fault(np.array([0, 1, 2]), np.array([0, 7]), 2, 2, 3)
    'index 7 lies outside 0 … 2'
    """
    if starts.shape != (n_rows + 1,) or indices.ndim != 1:
        return f"{starts.size} row starts for {n_rows} rows"
    if starts.dtype.kind not in "iu" or indices.dtype.kind not in "iu":
        return f"indices are {indices.dtype} and row starts {starts.dtype}, not whole numbers"
    if len(indices) != n_values:
        return f"{len(indices)} indices for {n_values} values"
    if int(starts[0]) != 0 or bool((starts[1:] < starts[:-1]).any()) or int(starts[-1]) > n_values:
        return f"row starts do not rise from 0 to at most {n_values}"
    return index_fault(indices, n_columns)


def index_fault(indices: Array, size: int) -> str | None:
    """What is wrong with indices into ``size`` places, if anything; one pass over them.

    Examples
    --------
    >>> index_fault(np.array([0, -1]), 3)
    'index -1 lies outside 0 … 2'
    """
    if indices.dtype.kind not in "iu":
        return f"indices are {indices.dtype}, not whole numbers"
    if not indices.size:
        return None
    lowest, highest = int(indices.min()), int(indices.max())
    if lowest >= 0 and highest < size:
        return None
    return f"index {lowest if lowest < 0 else highest} lies outside 0 … {size - 1}"


def structure_fault(matrix: Any) -> str | None:
    """The fault in the arrays of a SciPy matrix of any format, if any.

    Examples
    --------
    >>> broken = sparse.csr_array(np.eye(2))
    >>> broken.indices[1] = 9
    >>> structure_fault(broken)
    'index 9 lies outside 0 … 1'
    """
    fault = shape_fault(matrix.shape)
    if fault is not None or matrix.format not in ("csr", "csc", "bsr", "coo", "dia"):
        return fault  # dok and lil have Python objects, and are checked in the format that they are converted to
    if not isinstance(matrix.data, np.ndarray):
        return "its values are no array"
    rows, columns = (int(size) for size in matrix.shape)
    if matrix.format == "coo":
        return coordinate_fault(matrix.row, matrix.col, matrix.data, (rows, columns))
    if matrix.format == "dia":
        return diagonal_fault(matrix.offsets, matrix.data, (rows, columns))
    if not (isinstance(matrix.indptr, np.ndarray) and isinstance(matrix.indices, np.ndarray)):
        return "its indices are no arrays"
    if matrix.format == "bsr":
        return block_fault(matrix.indptr, matrix.indices, matrix.data, (rows, columns))
    if matrix.data.ndim != 1:
        return f"its values have shape {matrix.data.shape}"
    major, minor = (rows, columns) if matrix.format == "csr" else (columns, rows)
    return compressed_fault(matrix.indptr, matrix.indices, len(matrix.data), major, minor)


def coordinate_fault(rows: Array, columns: Array, values: Array, shape: tuple[int, int]) -> str | None:
    """The fault in a list of entries (COO), if any."""
    if not (rows.ndim == columns.ndim == values.ndim == 1 and len(rows) == len(columns) == len(values)):
        return f"{rows.size} row numbers and {columns.size} column numbers for {values.size} values"
    return index_fault(rows, shape[0]) or index_fault(columns, shape[1])


def diagonal_fault(offsets: Array, values: Array, shape: tuple[int, int]) -> str | None:
    """The fault in diagonals (DIA), if any: each has its own offset within the matrix."""
    if offsets.ndim != 1 or values.ndim != 2 or len(offsets) != len(values):
        return f"{offsets.size} offsets for values of shape {values.shape}"
    if len(np.unique(offsets)) != len(offsets):
        return "two diagonals have one offset"
    if offsets.dtype.kind != "i":
        return f"offsets are {offsets.dtype}, not whole numbers"
    return index_fault(np.where(offsets < 0, ~offsets, offsets), max(shape))


def block_fault(starts: Array, indices: Array, blocks: Array, shape: tuple[int, int]) -> str | None:
    """The fault in a matrix of blocks (BSR), if any."""
    if blocks.ndim != 3 or 0 in blocks.shape[1:] or shape[0] % blocks.shape[1] or shape[1] % blocks.shape[2]:
        return f"blocks of shape {blocks.shape} do not tile {shape[0]}×{shape[1]}"
    return compressed_fault(starts, indices, len(blocks), shape[0] // blocks.shape[1], shape[1] // blocks.shape[2])


def require_structure(features: Any, what: str = "X") -> None:
    """Raise ValueError if the arrays of a sparse matrix are inconsistent; dense features pass.

    To be called before SciPy converts, slices or multiplies a matrix from elsewhere.
    """
    if sparse.issparse(features):
        fault = structure_fault(features)
        if fault is not None:
            raise ValueError(f"{what} is a damaged sparse matrix: {fault}")


def canonical(features: Any) -> Any:
    """Convert CSR features to sorted and unique columns in each row; dense and canonical features are not changed.

    Repeated entries are summed. A matrix that has some, or unsorted ones, is copied; it is never modified.

    Examples
    --------
    >>> twice = sparse.csr_array((np.array([1.0, 2.0]), np.array([0, 0]), np.array([0, 2])), shape=(1, 3))
    >>> canonical(twice).data.tolist(), twice.nnz
    ([3.0], 2)
    """
    if not sparse.issparse(features):
        return features
    # A new view: the flags of a matrix about its own order may be out of date.
    view = type(features)((features.data, features.indices, features.indptr), shape=features.shape)
    if view.has_canonical_format:
        return features
    summed = view.copy()
    summed.sum_duplicates()
    return summed
