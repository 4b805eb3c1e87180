"""The result of all readers: features, labels, names, and the encoding that produced them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from crosshead.data.errors import DataError
from crosshead.data.memmap import release
from crosshead.sparse_structure import structure_fault

Array = NDArray[Any]
Encoding = dict[str, Any]

BLOCK_BYTES = 1 << 22
"""Bytes of a feature matrix processed at a time; a memory-mapped file is never read as a whole."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Features with labels and names, as `load` returns them.

    * ``features`` (N, D): dense float32 or float64, possibly memory-mapped, or a SciPy CSR array
    * ``target`` (N,): labels as in the source, of dtype int64, bool or str, or None
    * ``feature_names``, ``row_names``: if the source has them (columns of a table, files of a folder)
    * ``test``: the test rows of the source, if it has any
    * ``encoding``: how the source was converted to numbers, a JSON document; pass it to `load` to convert further data
      in the same way
    * ``source``: what was read
    * ``notes``: messages about the reading, such as skipped files

    Examples
    --------
    >>> data = Dataset(np.eye(3), np.array(["a", "b", "a"]))
    >>> data.n_rows, data.n_features, len(data.fingerprint())
    (3, 3, 64)
    """

    features: Any
    target: Array | None = None
    feature_names: list[str] | None = None
    row_names: list[str] | None = None
    test: Dataset | None = None
    encoding: Encoding = field(default_factory=dict)
    source: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        fault = structure_fault(self.features) if sparse.issparse(self.features) else None
        if fault is not None:
            raise DataError(f"{self.source or 'the features'}: a damaged sparse matrix: {fault}")

    @property
    def n_rows(self) -> int:
        """N, the number of rows."""
        return int(self.features.shape[0])

    @property
    def n_features(self) -> int:
        """D, the number of features."""
        return int(self.features.shape[1])

    def fingerprint(self) -> str:
        """SHA-256 of features and labels, see `fingerprint`."""
        return fingerprint(self)


def row_blocks(features: Any) -> Iterator[tuple[int, int]]:
    """Yield start and stop of consecutive blocks of rows of about `BLOCK_BYTES` each.

    Pages mapped from a file are released when their block is done.

    Examples
    --------
    >>> list(row_blocks(np.zeros((3, 2))))
    [(0, 3)]
    """
    n_rows, n_features = features.shape
    if sparse.issparse(features):
        row_bytes = (features.data.itemsize + features.indices.itemsize) * features.nnz / max(n_rows, 1)
    else:
        row_bytes = features.itemsize * n_features
    step = max(1, int(BLOCK_BYTES // max(row_bytes, 1)))
    for start in range(0, n_rows, step):
        stop = min(start + step, n_rows)
        yield start, stop
        release(features[start:stop])


def fingerprint(dataset: Dataset) -> str:
    """Compute the SHA-256 of features and labels, in hexadecimal.

    It depends on shape, dtype, values and labels in order, not on names, test rows, source, memory layout or byte
    order. Rows are read in blocks.

    Examples
    --------
    >>> one = Dataset(np.eye(2), np.array(["a", "b"]))
    >>> same = Dataset(np.asfortranarray(np.eye(2)), np.array(["a", "b"], dtype="<U9"))
    >>> fingerprint(one) == fingerprint(same)
    True
    """
    digest = hashlib.sha256()
    features = dataset.features
    layout = "csr" if sparse.issparse(features) else "dense"
    digest.update(f"features {layout} {features.shape} {features.dtype.newbyteorder('<').str}\n".encode())
    if layout == "csr":
        _digest_sparse(digest, features)
    else:
        for start, stop in row_blocks(features):
            digest.update(_little_endian(features[start:stop]))
    if dataset.target is not None:
        _digest_labels(digest, dataset.target)
    return digest.hexdigest()


def _digest_sparse(digest: Any, features: Any) -> None:
    """Digest each row's length, columns and values separately, so that the block size does not matter."""
    parts = [hashlib.sha256() for _ in range(3)]
    for start, stop in row_blocks(features):
        block = features[start:stop].copy()
        block.sum_duplicates()  # the fingerprint must not depend on the order of a row's entries
        contents = (np.diff(block.indptr).astype(np.int64), block.indices.astype(np.int64), block.data)
        for part, content in zip(parts, contents, strict=True):
            part.update(_little_endian(content))
    for part in parts:
        digest.update(part.digest())


def _digest_labels(digest: Any, target: Array) -> None:
    digest.update(f"target {target.shape} {target.dtype.kind}\n".encode())
    if target.dtype.kind == "U":
        for label in target.tolist():
            encoded = label.encode("utf-8", "surrogatepass")
            digest.update(len(encoded).to_bytes(8, "little") + encoded)
    else:
        digest.update(_little_endian(target))


def _little_endian(values: Array) -> Any:
    """The bytes of `values` in C order, copied only if order or endianness require it."""
    native = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    return native.reshape(-1).view(np.uint8)


def take(dataset: Dataset, rows: NDArray[np.int64]) -> Dataset:
    """Select rows of a dataset, with its names and encoding but without its test rows.

    Examples
    --------
    >>> take(Dataset(np.eye(3), np.array([7, 8, 9])), np.array([2, 0])).target
    array([9, 7])
    """
    return replace(
        dataset,
        features=dataset.features[rows],
        target=None if dataset.target is None else dataset.target[rows],
        row_names=None if dataset.row_names is None else [dataset.row_names[row] for row in rows],
        test=None,
    )


def split(dataset: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    """Split into training rows and held-out rows, stratified by label if there are labels.

    The held-out part has ``round(fraction · N)`` rows, at least one and at most N − 1, from each class its share to
    within one row. Every class keeps at least one training row, unless there is no other choice. Rows keep their order
    within each part. Raises DataError for a fraction outside (0, 1) or fewer than two rows.

    Examples
    --------
    >>> data = Dataset(np.arange(10.0)[:, None], np.array(["a"] * 6 + ["b"] * 4))
    >>> training, held_out = split(data, 0.5, seed=0)
    >>> sorted(held_out.target.tolist())
    ['a', 'a', 'a', 'b', 'b']
    """
    if not 0.0 < fraction < 1.0:
        raise DataError(f"the held-out fraction is {fraction}; it must lie between 0 and 1")
    if dataset.n_rows < 2:
        raise DataError(f"{dataset.source}: {dataset.n_rows} row(s) cannot be split in two; give more rows")
    n_held_out = min(max(round(fraction * dataset.n_rows), 1), dataset.n_rows - 1)
    generator = np.random.default_rng(seed)
    if dataset.target is None:
        groups = np.zeros(dataset.n_rows, dtype=np.int64)
    else:
        groups = np.unique(dataset.target, return_inverse=True)[1]
    chosen = _stratified_rows(groups, n_held_out, generator)
    is_held_out = np.zeros(dataset.n_rows, dtype=bool)
    is_held_out[chosen] = True
    return take(dataset, np.flatnonzero(~is_held_out)), take(dataset, np.flatnonzero(is_held_out))


def _stratified_rows(groups: NDArray[np.int64], n_chosen: int, generator: np.random.Generator) -> NDArray[np.int64]:
    counts = np.bincount(groups)
    quota = _largest_remainders(counts, n_chosen)
    # A stable sort after a shuffle gives each group's rows together, in random order within the group.
    shuffled = generator.permutation(groups.size)
    by_group = shuffled[np.argsort(groups[shuffled], kind="stable")]
    starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
    return np.concatenate([by_group[start : start + n] for start, n in zip(starts, quota, strict=True)], dtype=np.int64)


def _largest_remainders(counts: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Distribute `total` among groups in proportion to `counts`, leaving each group one if possible."""
    share = counts * (total / counts.sum())
    quota: NDArray[np.int64] = np.minimum(np.floor(share + 1e-9).astype(np.int64), np.maximum(counts - 1, 0))
    order = np.argsort(-(share - quota), kind="stable")
    for most in (counts - 1, counts):
        while (left := total - int(quota.sum())) > 0 and np.any(quota < most):
            quota[order[quota[order] < most[order]][:left]] += 1  # no group twice
    return quota
