"""Checks of the data themselves: scale, constant and repeated columns, repeated rows, classes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse

from crosshead.data import Dataset
from crosshead.data.dataset import Array, row_blocks
from crosshead.diagnostics.finding import FAILED_CHECK, PASSED, WARNING, Finding
from crosshead.linear.validation import LARGEST

LARGE, SMALL = 100.0, 1e-3
"""Largest absolute values of features outside of which there is a warning."""

UNEVEN = 1000.0
"""How many times the spread of one column may be that of another."""

FEW_ROWS, RARE = 5, 0.1
"""A class has few rows where it has fewer than `FEW_ROWS`, or than the share `RARE` of the classes' mean."""

MAX_NAMED = 5

VAST = "the squares of such numbers overflow, so there is no training on them as they are"
UNEQUAL = (
    "one penalty for all weights treats columns of very different size unequally: of two equally useful columns the "
    "larger is charged less"
)


def data_findings(dataset: Dataset, features: Any, classes: Array, indices: Array) -> list[Finding]:
    """All checks of features (N, D), scaled as asked, and of class indices (N,)."""
    return [
        *scale_findings(dataset, features),
        repeated_columns(dataset, features),
        *repeated_rows(features, indices),
        class_balance(dataset, classes, indices),
    ]


def scale_findings(dataset: Dataset, features: Any) -> list[Finding]:
    """The columns' sizes and spreads, and which of them are constant."""
    lowest, highest, spread = _spreads(features)
    constant = lowest == highest
    varying = spread[~constant]
    largest = float(np.maximum(np.abs(lowest), np.abs(highest)).max())
    with np.errstate(over="ignore"):  # columns 308 decades apart
        ratio = float(varying.max() / varying.min()) if len(varying) else 1.0
    numbers = {"largest": largest, "spread_ratio": ratio}
    odd = largest > LARGE or largest < SMALL or ratio > UNEVEN
    vast = largest > LARGEST[4 if features.dtype == np.float32 else 8]
    return [
        Finding(
            "scale",
            "scale of the features",
            FAILED_CHECK if vast else WARNING if odd else PASSED,
            f"largest absolute value {largest:.4g}; the widest column spreads {ratio:.4g} times the narrowest",
            VAST if vast else UNEQUAL,
            "scale the features: --scale standard for columns of different kinds, --scale maxabs for pixels and counts",
            numbers,
        ),
        Finding(
            "constant_columns",
            "constant columns",
            WARNING if constant.any() else PASSED,
            f"{int(constant.sum())} of {len(constant)}{_named(dataset, np.flatnonzero(constant))}",
            "a constant column tells the classes apart no better than the bias does",
            "harmless with a penalty; leave them out (--ignore, for a table) to save time",
            {"columns": np.flatnonzero(constant).tolist()},
        ),
    ]


def repeated_columns(dataset: Dataset, features: Any) -> Finding:
    """Columns that equal an earlier one in every row; constant columns have a check of their own."""
    first: dict[bytes, int] = {}
    repeated = []
    lowest, highest, _ = _spreads(features)
    for column, digest in enumerate(_column_digests(features)):
        if lowest[column] == highest[column]:
            continue
        if first.setdefault(digest, column) != column:
            repeated.append(column)
    return Finding(
        "repeated_columns",
        "repeated columns",
        WARNING if repeated else PASSED,
        f"{len(repeated)} of {features.shape[1]} equal an earlier column{_named(dataset, repeated)}",
        "two equal columns can share a weight in any proportion, so neither weight means anything by itself; and an L2 "
        "penalty on the pair is half of that on one column",
        "leave out one of each pair",
        {"columns": repeated},
    )


def repeated_rows(features: Any, indices: Array) -> list[Finding]:
    """Rows that equal an earlier one, and those among them that carry another label."""
    first: dict[bytes, int] = {}
    repeated, contradicting = [], []
    for row, digest in enumerate(_row_digests(features)):
        earlier = first.setdefault(digest, row)
        if earlier != row:
            repeated.append(row + 1)
            if indices[earlier] != indices[row]:
                contradicting.append(row + 1)
    count = features.shape[0]
    return [
        Finding(
            "repeated_rows",
            "repeated rows",
            WARNING if repeated else PASSED,
            f"{len(repeated)} of {count} equal an earlier row{_places(repeated)}",
            "a row in both training and test rows is no test of anything new, and a row that comes k times counts "
            "k times",
            "remove repetitions before rows are held out, unless they are true observations",
            {"rows": repeated[:1000], "count": len(repeated)},
        ),
        Finding(
            "contradicting_rows",
            "equal rows, different labels",
            WARNING if contradicting else PASSED,
            f"{len(contradicting)} of {count}{_places(contradicting)}",
            "no classifier can be right about both, so the loss of these rows cannot reach zero",
            "look at these rows: labels may be wrong, or the features lack what tells the classes apart",
            {"rows": contradicting[:1000], "count": len(contradicting)},
        ),
    ]


def class_balance(dataset: Dataset, classes: Array, indices: Array) -> Finding:
    """Classes with few rows, labels that a numbering leaves out, and labels that only the test rows have."""
    counts = np.bincount(indices, minlength=len(classes))
    few = [position for position, count in enumerate(counts) if count < max(FEW_ROWS, RARE * counts.mean())]
    missing = _left_out(classes)
    unseen = [] if dataset.test is None or dataset.test.target is None else _only_in(dataset.test.target, classes)
    troubles = []
    if few:
        named = [f"{classes[position]} ({counts[position]} rows)" for position in few[:MAX_NAMED]]
        troubles.append(f"few rows of {_listed(named, len(few))}")
    if missing:
        troubles.append(f"no rows of {_listed([str(label) for label in missing[:MAX_NAMED]], len(missing))}")
    if unseen:
        troubles.append(
            f"only among the test rows: {_listed([str(label) for label in unseen[:MAX_NAMED]], len(unseen))}"
        )
    share = float(counts.max() / counts.sum())
    found = f"{len(classes)} classes of {counts.min()} to {counts.max()} rows; "
    found += f"always predicting {classes[counts.argmax()]} is wrong for {100 * (1 - share):.2f} %"
    return Finding(
        "classes",
        "classes",
        WARNING if troubles else PASSED,
        "; ".join([found, *troubles]),
        "a class with few rows is learnt and measured badly; one without rows is never predicted",
        "gather more rows of these classes; --class-weight balanced makes all classes count the same in training",
        {
            "rows_by_class": dict(zip([str(label) for label in classes.tolist()], counts.tolist(), strict=True)),
            "few": [str(classes[position]) for position in few],
            "missing": [int(label) for label in missing],
            "only_in_test": [str(label) for label in unseen],
            "majority_error": 1 - share,
        },
    )


def _left_out(classes: Array) -> list[int]:
    """Whole numbers between the smallest and the largest label that are none, where the labels are a numbering."""
    if classes.dtype.kind not in "iu" or classes[0] < 0 or int(classes[-1]) - int(classes[0]) >= 2 * len(classes):
        return []
    present = set(classes.tolist())
    return [label for label in range(int(classes[0]), int(classes[-1])) if label not in present]


def _only_in(labels: Array, classes: Array) -> list[Any]:
    known = {str(label) for label in classes.tolist()}
    return [label for label in np.unique(labels).tolist() if str(label) not in known]


def _spreads(features: Any) -> tuple[Array, Array, Array]:
    """Smallest value, largest value and standard deviation of each column, in blocks of rows."""
    count, columns = features.shape
    lowest, highest = np.full(columns, np.inf), np.full(columns, -np.inf)
    mean = np.zeros(columns)
    for start, stop in row_blocks(features):
        block = features[start:stop].astype(np.float64)
        low, high = block.min(axis=0), block.max(axis=0)
        if sparse.issparse(block):
            low, high = low.toarray().ravel(), high.toarray().ravel()
        np.minimum(lowest, low, out=lowest)
        np.maximum(highest, high, out=highest)
        mean += np.asarray((block * (1 / count)).sum(axis=0)).ravel()
    # In powers of two near the largest, which are exact: squares of very large and very small numbers are none.
    exponent = np.frexp(np.maximum(np.abs(lowest), np.abs(highest)))[1]
    mean, squares = np.ldexp(mean, -exponent), np.zeros(columns)
    for start, stop in row_blocks(features):
        block = features[start:stop].astype(np.float64)
        if sparse.issparse(block):
            present = np.bincount(block.indices, minlength=columns)
            squares += np.bincount(
                block.indices, (np.ldexp(block.data, -exponent[block.indices]) - mean[block.indices]) ** 2, columns
            )
            squares += (block.shape[0] - present) * mean**2
        else:
            squares += ((np.ldexp(block, -exponent) - mean) ** 2).sum(axis=0)
    return lowest, highest, np.ldexp(np.sqrt(squares / count), exponent)


def _row_digests(features: Any) -> list[bytes]:
    digests = []
    for start, stop in row_blocks(features):
        block = features[start:stop]
        if sparse.issparse(block):
            block = block.copy()
            block.sum_duplicates()
            block.eliminate_zeros()
            for row in range(block.shape[0]):
                part = slice(block.indptr[row], block.indptr[row + 1])
                places = block.indices[part].astype(np.int64)
                digests.append(hashlib.blake2b(places.tobytes() + block.data[part].tobytes()).digest())
        else:
            rows = np.ascontiguousarray(block + 0)  # adding zero makes −0 and 0 the same
            digests += [hashlib.blake2b(row.tobytes()).digest() for row in rows]
    return digests


def _column_digests(features: Any) -> list[bytes]:
    if sparse.issparse(features):
        return _row_digests(features.T.tocsr())
    digests = [hashlib.blake2b() for _ in range(features.shape[1])]
    for start, stop in row_blocks(features):
        columns = np.ascontiguousarray((features[start:stop] + 0).T)
        for digest, column in zip(digests, columns, strict=True):
            digest.update(column.tobytes())
    return [digest.digest() for digest in digests]


def _named(dataset: Dataset, columns: Sequence[int] | Array) -> str:
    if not len(columns):
        return ""
    names = dataset.feature_names
    shown = [str(column + 1) if names is None else str(names[column]) for column in columns[:MAX_NAMED]]
    return f": {_listed(shown, len(columns))}"


def _places(rows: Sequence[int]) -> str:
    return f": {_listed([f'row {row}' for row in rows[:MAX_NAMED]], len(rows))}" if rows else ""


def _listed(names: Sequence[str], count: int) -> str:
    return ", ".join(names) + (f" and {count - len(names)} more" if count > len(names) else "")
