"""Read NumPy files: `.npz` archives and `.npy` arrays, without pickle."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from crosshead.data.checks import Place, as_features, as_labels, check_finite, check_lengths
from crosshead.data.dataset import Array, Dataset
from crosshead.data.errors import DataError
from crosshead.data.formats.npz_archive import Archive, check_letters, member, open_archive, pickled, read_header
from crosshead.data.formats.sparse_npz import is_sparse_archive, read_sparse
from crosshead.data.memmap import TruncatedError, map_array

FEATURE_NAMES = ("X", "x", "features", "data", "images", "embeddings", "X_train", "x_train", "Xtrain")
LABEL_NAMES = ("y", "Y", "labels", "label", "target", "targets", "y_train", "ytrain", "train_labels")
TEST_FEATURE_NAMES = ("Xt", "xt", "X_test", "x_test", "Xtest", "test_images")
TEST_LABEL_NAMES = ("yt", "y_test", "ytest", "test_labels")


def read_npz(path: Path, *, target: str | None, target_required: bool) -> Dataset:
    """Read `X`, `y` and, if present, the test rows `Xt`, `yt` from an archive.

    An archive of `scipy.sparse.save_npz` has features only; its labels are read from the `.npy` file beside it, as for
    `.npy` features.
    """
    source = str(path)
    with open_archive(path) as archive:
        names = list(archive.files)
        if is_sparse_archive(names):
            return read_pair(path, sibling_labels(path), target_required=target_required)
        feature_name = choose_name(names, FEATURE_NAMES, "features", "X", source)
        if feature_name is None:
            raise DataError(f"{source}: no array of features; found {listed(names)}, expected one named 'X'")
        label_name = label_name_of(names, target, source)
        if label_name is None and target_required:
            raise DataError(
                f"{source}: no array of labels; found {listed(names)}, expected one named 'y' or --target NAME"
            )
        training = _dataset(archive, feature_name, label_name, source)
        test_name = choose_name(names, TEST_FEATURE_NAMES, "test features", "Xt", source)
        if test_name is None:
            return training
        test_label_name = choose_name(names, TEST_LABEL_NAMES, "test labels", "yt", source)
        if test_label_name is None and target_required:
            raise DataError(f"{source}: array {test_name!r} has no labels beside it; add 'yt'")
        test = _dataset(archive, test_name, test_label_name, source)
    if test.n_features != training.n_features:
        raise DataError(
            f"{source}: {feature_name} has {training.n_features} features per row but {test_name} has "
            f"{test.n_features}; they must agree"
        )
    return Dataset(training.features, training.target, test=test, encoding=training.encoding, source=source)


def read_pair(features_path: Path, labels_path: Path | None, *, target_required: bool) -> Dataset:
    """Read features from one file, memory-mapped if they are dense, and labels from another."""
    source = str(features_path)
    if labels_path is None and target_required:
        expected = label_file_name(features_path.name)
        raise DataError(
            f"{source}: no labels; put them beside it as {expected!r} or name both files: "
            f"{features_path.name},{expected}"
        )
    if features_path.suffix == ".npz":
        features, shape = read_sparse(features_path), None
    else:
        features, shape = as_features(load_npy(features_path), features_path.stem, source)
    check_finite(features, Place(source))
    target = None
    if labels_path is not None:
        values = load_npy(labels_path)
        target = as_labels(np.array(values), labels_path.stem, Place(str(labels_path)))
        check_lengths(features.shape[0], target.size, (features_path.name, labels_path.name), source)
    return Dataset(features, target, encoding=_encoding(shape), source=source)


def split_pair(source: str) -> tuple[Path, Path] | None:
    """The two files of `features.npy,labels.npy`; None if `source` is not such a pair.

    Examples
    --------
    >>> [path.name for path in split_pair("X.npy,y.npy")]
    ['X.npy', 'y.npy']
    """
    features, comma, labels = source.partition(",")
    if not comma or Path(features).suffix not in (".npy", ".npz") or Path(labels).suffix != ".npy":
        return None
    return Path(features), Path(labels)


def label_file_name(feature_file_name: str) -> str:
    """The name of the label file that belongs to a feature file.

    Examples
    --------
    >>> label_file_name("X_train.npy"), label_file_name("x.npz"), label_file_name("embeddings.npy")
    ('y_train.npy', 'y.npy', 'embeddings_labels.npy')
    """
    stem = Path(feature_file_name).stem
    swapped = re.sub(r"^[Xx](?=$|[^A-Za-z0-9]|t$|train$|test$)", "y", stem)
    return f"{stem}_labels.npy" if swapped == stem else f"{swapped}.npy"


def sibling_labels(features_path: Path) -> Path | None:
    """The label file beside a feature file, if it exists."""
    candidate = features_path.with_name(label_file_name(features_path.name))
    return candidate if candidate.is_file() else None


def _dataset(archive: Archive, feature_name: str, label_name: str | None, source: str) -> Dataset:
    features, shape = as_features(member(archive, feature_name, source), feature_name, source)
    check_finite(features, Place(f"{source}, array {feature_name!r}"))
    target = None
    if label_name is not None:
        target = as_labels(member(archive, label_name, source), label_name, Place(source))
        check_lengths(features.shape[0], target.size, (feature_name, label_name), source)
    return Dataset(features, target, encoding=_encoding(shape), source=source)


def _encoding(shape: list[int] | None) -> dict[str, Any]:
    return {"kind": "array"} if shape is None else {"kind": "array", "shape": shape}


def label_name_of(names: Sequence[str], target: str | None, source: str) -> str | None:
    """The array of labels: ``target``, else one with a usual name, else None."""
    if target is None:
        return choose_name(names, LABEL_NAMES, "labels", "y", source)
    if target not in names:
        raise DataError(f"{source}: no array {target!r}; found {listed(names)}")
    return target


def choose_name(names: Sequence[str], known: Sequence[str], what: str, preferred: str, source: str) -> str | None:
    """The preferred name, or the only known one present; None if there is none, DataError if there are several."""
    if preferred in names:
        return preferred
    found = [name for name in names if name in known]
    if len(found) > 1:
        raise DataError(
            f"{source}: several arrays could be the {what}: {listed(found)}; name the right one {preferred!r}"
        )
    return found[0] if found else None


def listed(names: Sequence[str]) -> str:
    """Format names of arrays for messages."""
    return ", ".join(repr(name) for name in names) if names else "no arrays"


def load_npy(path: Path) -> Array:
    """Memory-map an `.npy` file; DataError if it is damaged or pickled."""
    _check_present(path)
    with path.open("rb") as stream:
        try:
            values = map_npy(stream)
            check_letters(values)
            return values
        except TruncatedError as error:
            raise DataError(f"{path}: {error}") from error
        except Exception as error:  # a damaged header is parsed as Python text and can raise almost anything
            if "Object arrays" in str(error):
                raise pickled(f"{path}:") from error
            raise DataError(f"{path}: not a readable .npy file ({error}); is it truncated?") from error


def map_npy(stream: IO[bytes]) -> Array:
    """Memory-map the array that begins at a stream's position, with NumPy's header.

    Raises TruncatedError if the file is too short, other ValueErrors for Python objects and damaged headers.
    """
    header = read_header(stream)
    if header.dtype.hasobject:
        raise ValueError("Object arrays")
    return np.asanyarray(map_array(stream, header.dtype, header.shape, fortran_order=header.fortran_order))


def _check_present(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty")
