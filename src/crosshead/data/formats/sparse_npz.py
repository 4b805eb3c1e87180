"""Sparse matrices in the format of `scipy.sparse.save_npz`, built from validated parts only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from crosshead.data.checks import feature_dtype
from crosshead.data.dataset import Array
from crosshead.data.errors import DataError
from crosshead.data.formats.npz_archive import Archive, member, open_archive
from crosshead.data.limits import check_unpacked, check_width
from crosshead.sparse_structure import block_fault, compressed_fault, coordinate_fault, diagonal_fault, shape_fault

MEMBERS = {
    "csr": ("indptr", "indices"),
    "csc": ("indptr", "indices"),
    "bsr": ("indptr", "indices"),
    "coo": ("row", "col"),
    "dia": ("offsets",),
}
_COMMON = frozenset({"format", "shape", "data"})


def is_sparse_archive(names: Sequence[str]) -> bool:
    """Whether the arrays of an archive are those of a sparse matrix.

    Examples
    --------
    >>> is_sparse_archive(["format", "shape", "data", "row", "col"]), is_sparse_archive(["X", "y"])
    (True, False)
    """
    found = set(names)
    return found >= _COMMON and any(found >= set(members) for members in MEMBERS.values())


def read_sparse(path: Path) -> Any:
    """Read a CSR matrix, float32 or float64, with sorted and unique columns in each row; repeated entries are summed.

    Every index is validated before SciPy, which does not check them, converts anything.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    with open_archive(path) as archive:
        try:
            return _matrix(archive, path)
        except DataError:
            raise
        except (ValueError, OverflowError) as error:  # raised by SciPy's constructors
            raise _damaged(path, str(error)) from error


def _matrix(archive: Archive, path: Path) -> Any:
    source = str(path)
    if not is_sparse_archive(archive.files):
        raise DataError(f"{source}: not a readable sparse matrix: it holds {', '.join(archive.files)}")
    kind = _format(member(archive, "format", source), path)
    shape = _shape(member(archive, "shape", source), path)
    # Empty rows take no space in some of the formats, but each takes one number in CSR.
    check_unpacked(f"{source}: a matrix of {shape[0]} rows", 8 * shape[0], path.stat().st_size)
    check_width(source, shape[1], path.stat().st_size)
    values = member(archive, "data", source)
    if values.dtype.kind not in "biuf":
        raise DataError(f"{source}: holds {values.dtype}, not numbers")
    places = [member(archive, name, source) for name in MEMBERS[kind]]
    fault = _fault(kind, places, values, shape)
    if fault is not None:
        raise _damaged(path, fault)
    values = values.astype(feature_dtype(values.dtype), copy=False)
    matrix = sparse.csr_array(_built(kind, places, values, shape))
    matrix.sum_duplicates()
    return matrix


def _fault(kind: str, places: Sequence[Array], values: Array, shape: tuple[int, int]) -> str | None:
    if kind == "coo":
        return coordinate_fault(places[0], places[1], values, shape)
    if kind == "dia":
        return diagonal_fault(places[0], values, shape)
    if kind == "bsr":
        return block_fault(places[0], places[1], values, shape)
    if values.ndim != 1:
        return f"its values have shape {values.shape}"
    major, minor = shape if kind == "csr" else shape[::-1]
    return compressed_fault(places[0], places[1], len(values), major, minor)


def _built(kind: str, places: Sequence[Array], values: Array, shape: tuple[int, int]) -> Any:
    signed = [np.ascontiguousarray(place, dtype=np.int64) for place in places]
    if kind == "coo":
        return sparse.coo_array((values, (signed[0], signed[1])), shape=shape)
    if kind == "dia":
        return sparse.dia_array((values, signed[0]), shape=shape)
    starts, indices = signed
    build = {"csr": sparse.csr_array, "csc": sparse.csc_array, "bsr": sparse.bsr_array}[kind]
    return build((values, indices, starts), shape=shape)  # SciPy narrows the indices if they fit


def _format(values: Array, path: Path) -> str:
    name = values.item() if values.size == 1 and values.dtype.kind in "SU" else None
    text = name.decode("ascii", "replace") if isinstance(name, bytes) else name
    if text not in MEMBERS:
        raise DataError(f"{path}: not a readable sparse matrix: format {text!r}; known are {', '.join(MEMBERS)}")
    return str(text)


def _shape(values: Array, path: Path) -> tuple[int, int]:
    sizes = values.tolist() if values.ndim == 1 and values.size <= 2 else [values.ndim]
    fault = shape_fault(sizes)
    if fault is not None:
        raise _damaged(path, fault)
    if 0 in sizes:
        raise DataError(f"{path}: has shape {tuple(sizes)}: no rows or 0 features")
    return sizes[0], sizes[1]


def _damaged(path: Path, fault: str) -> DataError:
    return DataError(f"{path}: not a readable sparse matrix: {fault}; save it again with scipy.sparse.save_npz")
