"""Pairs of embeddings: all of them, counted block by block, or a sample of pairs for each fold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosshead.evaluation.verification.roc import Roc, curve_of
from crosshead.losses.protocol import Float

CELLS = 1 << 20
"""Histogram cells per unit of the cosine: 10⁻⁶ is about the resolution of float32 embeddings."""

BLOCK = 1024  # rows: a block of pairs is at most this squared

Indices = NDArray[np.intp]


def roc_of_embeddings(embeddings: Any, identities: Any, *, block: int = BLOCK) -> Roc:
    """Compute the ROC curve of all N(N − 1)/2 pairs of embeddings (N, D) by their cosine.

    ``identities`` (N,) are any labels. Cosines are computed in float64 and rounded to multiples of 2⁻²⁰, so that memory
    does not grow with the number of pairs. Embeddings, also memory-mapped ones, are read in blocks of ``block`` rows.
    Raises ValueError for an embedding that is zero or not finite, naming its row.

    Examples
    --------
    >>> curve = roc_of_embeddings([[1.0, 0.0], [3.0, 1.0], [0.0, 2.0]], ["ann", "ann", "bob"])
    >>> curve.genuine, curve.impostors, curve.eer
    (1, 2, 0.0)
    """
    matrix = _as_embeddings(embeddings)
    person = _as_identities(identities, len(matrix))
    if block < 1:
        raise ValueError(f"a block has at least one row, not {block}")
    counts = np.zeros((2, 2 * CELLS + 1), dtype=np.int64)
    for first in range(0, len(matrix), block):
        here = _directions(matrix, slice(first, first + block))
        for second in range(first, len(matrix), block):
            there = here if second == first else _directions(matrix, slice(second, second + block))
            same = person[first : first + block, None] == person[None, second : second + block]
            cell = np.rint(np.clip(here @ there.T, -1, 1) * CELLS).astype(np.intp) + CELLS
            if second == first:
                upper = np.triu_indices(len(here), 1)
                same, cell = same[upper], cell[upper]
            for row, kind in zip(counts, (~same, same), strict=True):
                np.add.at(row, cell[kind], 1)
    falling = counts[:, ::-1]
    seen = np.flatnonzero(falling.any(axis=0))
    accepted = falling[:, seen].cumsum(axis=1)
    if not len(seen):
        raise ValueError("pairs need at least 2 embeddings")
    return curve_of((CELLS - seen) / CELLS, accepted[0], accepted[1])


def pair_similarity(embeddings: Any, left: Any, right: Any) -> Float:
    """Compute the cosines (P,) of pairs of rows ``left`` and ``right`` (P,) of embeddings (N, D), in float64.

    Examples
    --------
    >>> pair_similarity([[1.0, 0.0], [3.0, 3.0], [0.0, -2.0]], [0, 1], [1, 2]).round(4).tolist()
    [0.7071, -0.7071]
    """
    matrix = _as_embeddings(embeddings)
    first, second = np.asarray(left, dtype=np.intp), np.asarray(right, dtype=np.intp)
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(f"pairs need two lists of rows of one length, not {first.shape} and {second.shape}")
    found = np.empty(len(first))
    for start in range(0, len(first), BLOCK):
        part = slice(start, start + BLOCK)
        found[part] = np.einsum("ij,ij->i", _directions(matrix, first[part]), _directions(matrix, second[part]))
    return np.clip(found, -1, 1)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of rows ``left`` and ``right``, whether they have the ``same`` identity, and their ``fold``, (P,) each.

    Examples
    --------
    >>> pairs = pairs_by_fold([0, 0, 1, 1, 2, 2, 3, 3], folds=2, pairs=4)
    >>> len(pairs.left), int(pairs.same.sum())
    (8, 4)
    """

    left: Indices
    right: Indices
    same: NDArray[np.bool_]
    fold: Indices


def pairs_by_fold(identities: Any, folds: int = 10, pairs: int = 600, *, seed: int = 0) -> Pairs:
    """Sample as many genuine as impostor pairs, at most ``pairs`` in each fold, with no identity in two folds.

    Identities (N,) are assigned to folds at random, then pairs within a fold are drawn without replacement, fewer if a
    fold does not have enough. This is the protocol of Labeled Faces in the Wild (10 folds of 600). Raises ValueError
    if a fold would lack genuine or impostor pairs.

    Examples
    --------
    >>> drawn = pairs_by_fold([0, 0, 1, 1, 2, 2, 3, 3], folds=2, pairs=4)
    >>> drawn.same.tolist(), drawn.fold.tolist()
    ([True, True, False, False, True, True, False, False], [0, 0, 0, 0, 1, 1, 1, 1])
    """
    person = _as_identities(identities, None)
    count = int(person.max(initial=-1)) + 1
    if not 1 <= folds <= count // 2:
        raise ValueError(f"{count} identities make at most {count // 2} folds, since a fold needs two; not {folds}")
    if pairs < 2:
        raise ValueError(f"a fold needs at least 2 pairs, one of each kind, not {pairs}")
    generator = np.random.Generator(np.random.Philox(seed))
    found = []
    for number, members in enumerate(np.array_split(generator.permutation(count), folds)):
        rows = np.flatnonzero(np.isin(person, members))
        rows = rows[np.argsort(person[rows], kind="stable")]
        for same in (True, False):
            left, right = _sample_pairs(person[rows], same, pairs // 2, generator)
            if not len(left):
                raise ValueError(f"fold {number} has no person with two samples: use fewer folds or other samples")
            found.append((rows[left], rows[right], np.full(len(left), same), np.full(len(left), number, dtype=np.intp)))
    return Pairs(*(np.concatenate(column) for column in zip(*found, strict=True)))


def _sample_pairs(person: Indices, same: bool, most: int, generator: np.random.Generator) -> tuple[Indices, Indices]:
    """Draw distinct pairs of rows with sorted identities; pairs are numbered, not listed."""
    row = np.arange(len(person))
    end = np.searchsorted(person, person, side="right")
    begin, partners = (row + 1, end - row - 1) if same else (end, len(person) - end)
    upto = np.cumsum(partners)
    total = int(upto[-1])
    number = np.sort(generator.choice(total, min(most, total), replace=False)) if total else np.empty(0, dtype=np.intp)
    left = np.searchsorted(upto, number, side="right")
    return left, begin[left] + number - (upto - partners)[left]


def _directions(matrix: NDArray[Any], rows: Any) -> Float:
    """Normalise rows to length one, in float64."""
    part = np.asarray(matrix[rows], dtype=np.float64)
    largest = np.abs(part).max(axis=1)
    faulty = ~(np.isfinite(largest) & (largest > 0))
    if faulty.any():
        row = int(np.arange(len(matrix))[rows][faulty.argmax()])
        raise ValueError(f"the embedding in row {row} is zero or not finite, and has no direction")
    part = part / largest[:, None]  # avoids underflow and overflow of squares
    return np.asarray(part / np.linalg.norm(part, axis=1, keepdims=True))


def _as_embeddings(embeddings: Any) -> NDArray[Any]:
    matrix = embeddings if isinstance(embeddings, np.ndarray) else np.asarray(embeddings)
    if matrix.ndim != 2 or 0 in matrix.shape or matrix.dtype.kind not in "biuf":
        raise ValueError(
            f"embeddings must be numbers of shape (samples, features), not {matrix.dtype} of shape {matrix.shape}"
        )
    return matrix


def _as_identities(identities: Any, n_rows: int | None) -> Indices:
    """Replace labels by numbers 0, 1, …."""
    labels = np.asarray(identities)
    if labels.ndim != 1 or (n_rows is not None and len(labels) != n_rows):
        expected = "one dimension" if n_rows is None else f"shape {(n_rows,)}"
        raise ValueError(f"identities must have {expected}, not {labels.shape}")
    return np.unique(labels, return_inverse=True)[1].astype(np.intp).reshape(-1)
