"""Sparse matrices whose arrays contradict each other are refused where they enter, before anything follows them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from crosshead import LinearClassifier, LogisticRegression, regularisation_path
from crosshead.data import DataError, Dataset, load
from crosshead.engines import ENGINES, TrainingData
from crosshead.linear import LinearClassifierCV
from crosshead.linear.out_of_fold import out_of_fold_probabilities
from crosshead.scaling import Scaler
from crosshead.sparse_structure import canonical, require_structure, structure_fault

ROWS, COLUMNS = 12, 6
FAR = 1 << 24  # an index whose address is no longer the process's own


def matrix(kind: str) -> Any:
    dense = np.random.default_rng(3).normal(size=(ROWS, COLUMNS))
    dense[np.abs(dense) < 0.5] = 0.0
    return sparse.csr_array(dense).asformat(kind)


def index_beyond(damaged: Any) -> None:
    indices = damaged.row if damaged.format == "coo" else damaged.indices
    indices[1] = FAR


def index_negative(damaged: Any) -> None:
    indices = damaged.col if damaged.format == "coo" else damaged.indices
    indices[1] = -FAR


def starts_beyond(damaged: Any) -> None:
    damaged.indptr[-1] = FAR


def starts_falling(damaged: Any) -> None:
    damaged.indptr[2] = FAR


def starts_negative(damaged: Any) -> None:
    damaged.indptr[0] = -FAR


def starts_missing(damaged: Any) -> None:
    damaged.indptr = damaged.indptr[:-3].copy()


def values_missing(damaged: Any) -> None:
    damaged.data = damaged.data[:-3].copy()


STARTS = (starts_beyond, starts_falling, starts_negative, starts_missing)
COMPRESSED = (index_beyond, index_negative, *STARTS, values_missing)
DAMAGE = [(kind, damage) for kind in ("csr", "csc", "bsr") for damage in COMPRESSED]
DAMAGE += [("coo", damage) for damage in (index_beyond, index_negative, values_missing)]


def damaged(kind: str, damage: Callable[[Any], None]) -> Any:
    made = matrix(kind)
    damage(made)
    return made


@pytest.mark.parametrize("kind", ["csr", "csc", "bsr", "coo", "dia", "lil", "dok"])
def test_honest_matrices_pass(kind: str) -> None:
    assert structure_fault(matrix(kind)) is None
    assert structure_fault(sparse.csr_array((0, 4)).asformat(kind)) is None


@pytest.mark.parametrize(("kind", "damage"), DAMAGE)
def test_every_entry_refuses_a_damaged_matrix(kind: str, damage: Callable[[Any], None]) -> None:
    y = np.arange(ROWS) % 2
    fitted = LinearClassifier().fit(matrix("csr"), y)
    entries: list[Callable[[Any], Any]] = [
        require_structure,
        fitted.predict,
        fitted.decision_function,
        lambda X: LinearClassifier().fit(X, y),
        lambda X: LogisticRegression().fit(X, y),
        lambda X: LinearClassifierCV(cv=2).fit(X, y),
        lambda X: regularisation_path(X, y),
        lambda X: out_of_fold_probabilities(X, y, alpha=1e-3),
        lambda X: Scaler.fit("standard", X),
        Scaler("maxabs", None, None, np.ones(1)).apply,
    ]
    for entry in entries:
        with pytest.raises(ValueError, match="damaged sparse matrix"):
            entry(damaged(kind, damage))
    with pytest.raises(DataError, match="damaged sparse matrix"):
        Dataset(damaged(kind, damage))


@pytest.mark.parametrize("damage", COMPRESSED)
def test_engines_refuse_a_damaged_matrix(damage: Callable[[Any], None]) -> None:
    with pytest.raises(ValueError, match="CSR matrix is a damaged sparse matrix"):
        TrainingData(damaged("csr", damage), np.zeros(ROWS, dtype=np.int32), 2)


def test_diagonals_and_blocks() -> None:
    diagonal = sparse.dia_array(np.eye(4))
    for offsets in ([FAR], [0, 1], [-FAR]):
        diagonal.offsets = np.array(offsets, dtype=np.int32)
        assert structure_fault(diagonal) is not None
    blocks = matrix("bsr")
    blocks._shape = (ROWS + 1, COLUMNS)
    assert structure_fault(blocks) is not None
    for shape in ((-1, 3), (2, 3, 4), (2.0, 3), (1 << 70, 1)):
        blocks._shape = shape
        assert "two sizes" in str(structure_fault(blocks))


def test_repeated_and_unsorted_entries_count_as_their_sum() -> None:
    honest = matrix("csr")
    y = np.arange(ROWS) % 3
    coordinates = honest.tocoo()
    order = np.random.default_rng(0).permutation(2 * coordinates.nnz)
    order = order[np.argsort(np.tile(coordinates.row, 2)[order], kind="stable")]
    twice = sparse.csr_array(
        (np.tile(coordinates.data, 2)[order] / 2, np.tile(coordinates.col, 2)[order], 2 * honest.indptr),
        shape=honest.shape,
    )
    twice.has_canonical_format = True  # what it says of itself is not believed
    before = twice.data.copy()
    np.testing.assert_array_equal(canonical(twice).toarray(), honest.toarray())
    for engine in ENGINES:
        for loss in ("softmax", "hinge"):
            options = {"loss": loss, "alpha": 1e-2, "engine": engine}
            one, other = LinearClassifier(**options).fit(honest, y), LinearClassifier(**options).fit(twice, y)
            np.testing.assert_allclose(other.coef_, one.coef_, rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(one.decision_function(twice), one.decision_function(honest), rtol=1e-12)
    np.testing.assert_array_equal(twice.data, before)


FORMATS = ["csr", "csc", "bsr", "coo", "dia"]


@pytest.mark.parametrize("kind", FORMATS)
def test_files_of_every_format(tmp_path: Path, kind: str) -> None:
    sparse.save_npz(tmp_path / "X.npz", matrix(kind))
    np.save(tmp_path / "y.npy", np.arange(ROWS) % 2)
    read = load(tmp_path / "X.npz")
    np.testing.assert_array_equal(read.features.toarray(), matrix("csr").toarray())
    assert read.features.has_canonical_format


def save_damaged(path: Path, **members: Any) -> None:
    whole = dict(np.load(path))
    np.savez(path, **(whole | members))


@pytest.mark.parametrize(
    ("kind", "members"),
    [
        *[(kind, {"indices": np.full(40, at)}) for kind in ("csr", "csc") for at in (FAR, -FAR, -1, COLUMNS + ROWS)],
        *[(kind, {"indptr": np.full(ROWS + 1, at)}) for kind in ("csr", "csc") for at in (FAR, -FAR)],
        *[("coo", {name: np.full(40, at)}) for name in ("row", "col") for at in (FAR, -FAR)],
        *[(kind, {"shape": shape}) for kind in FORMATS for shape in ([-1, -1], [1 << 62, 1 << 62], [3], 7, ["a", "b"])],
        *[(kind, {"format": name}) for kind in FORMATS for name in ("nonsense", 7, np.zeros((2, 2)), b"\xff")],
        *[(kind, {"data": data}) for kind in FORMATS for data in (np.array(1.0), np.array(["a"]), np.zeros((0, 0)))],
        ("csr", {"indices": np.array(["a", "b"])}),
        ("csr", {"indptr": np.array(3.5)}),
        ("bsr", {"data": np.zeros((3, 0, 2))}),
        ("dia", {"offsets": np.array([1.5])}),
        ("csc", {"shape": [1 << 40, COLUMNS]}),
        ("csc", {"shape": [1 << 31, COLUMNS]}),
        ("coo", {"shape": [1 << 40, COLUMNS]}),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, kind: str, members: dict[str, Any]) -> None:
    sparse.save_npz(tmp_path / "X.npz", matrix(kind))
    np.save(tmp_path / "y.npy", np.arange(ROWS) % 2)
    save_damaged(tmp_path / "X.npz", **members)
    with pytest.raises(DataError, match=r"X\.npz"):
        load(tmp_path / "X.npz")


@pytest.mark.parametrize("missing", ["data", "indices", "indptr", "shape", "format"])
def test_files_without_a_member(tmp_path: Path, missing: str) -> None:
    sparse.save_npz(tmp_path / "X.npz", matrix("csr"))
    whole = dict(np.load(tmp_path / "X.npz"))
    del whole[missing]
    np.savez(tmp_path / "X.npz", **whole)
    np.save(tmp_path / "y.npy", np.arange(ROWS) % 2)
    with pytest.raises(DataError, match=r"X\.npz"):
        load(f"{tmp_path / 'X.npz'},{tmp_path / 'y.npy'}")
