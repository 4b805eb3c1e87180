"""`load`: one function for all supported sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from crosshead.data import builtin
from crosshead.data.dataset import Dataset
from crosshead.data.detect import recognise
from crosshead.data.errors import DataError
from crosshead.data.formats import feature_files, idx, numpy_arrays, svmlight, tables
from crosshead.data.images import pixels
from crosshead.data.images.open_images import open_images, table_of_images
from crosshead.data.memmap import refuse_shortened

Options = Mapping[str, Any]


def load(
    source: str | Path,
    *,
    target: str | None = None,
    size: tuple[int, int] | int | None = None,
    ignore: Sequence[str] = (),
    encoding: Mapping[str, Any] | None = None,
    target_required: bool | None = None,
    skip_broken: bool = False,
) -> Dataset:
    """Read features and labels from a source of any supported kind.

    Parameters
    ----------
    source : str or Path
        A file, a folder of images, `features.npy,labels.npy`, or the name of a built-in data set. A file or folder of
        that name takes precedence over the built-in data set; write `./digits` to be explicit.
    target : str, optional
        The column (table) or array (npz) of labels. By default target, label, class or y.
    size : int or (height, width), optional
        Size that images are resized to; a single number is both.
    ignore : sequence of str
        Columns of a table that are not features.
    encoding : mapping, optional
        The `encoding` of the training data, to convert new data to the same features.
    target_required : bool, optional
        Whether a source without labels is an error. By default it is for training (no `encoding`).
    skip_broken : bool
        Whether to skip images that cannot be read; a note of the result lists them.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        With one line that says what is wrong, where (file, row, column), and what to do. Rows are counted from 1.

    Examples
    --------
    >>> data = load("digits")
    >>> data.features.shape, data.target[:3]
    ((1797, 64), array([0, 1, 2]))
    """
    required = encoding is None if target_required is None else target_required
    options: dict[str, Any] = {
        "target": target,
        "size": _as_size(size),
        "ignore": ignore,
        "encoding": encoding,
        "target_required": required,
        "skip_broken": skip_broken,
    }
    kind, path = _kind(str(source))
    _check_options(kind, str(source), options)
    with refuse_shortened():
        return _finish(_read(kind, path, str(source), options), encoding)


def _kind(source: str) -> tuple[str, Path]:
    """The kind and path of a source; tables of images are images."""
    kind, path = recognise(source)
    return ("images" if kind == "parquet" and table_of_images(path) else kind), path


def _read(kind: str, path: Path, source: str, options: Options) -> Dataset:
    required, encoding = options["target_required"], options["encoding"]
    if kind == "images":
        opened = open_images(source, target=options["target"], labels_required=required)
        return pixels.read_images(opened, size=options["size"], encoding=encoding, skip_broken=options["skip_broken"])
    if kind == "builtin":
        return builtin.read_builtin(source)
    if kind == "pair":
        features_path, labels_path = numpy_arrays.split_pair(source) or (path, path)
        return numpy_arrays.read_pair(features_path, labels_path, target_required=required)
    if kind == "npy":
        return numpy_arrays.read_pair(path, numpy_arrays.sibling_labels(path), target_required=required)
    if kind == "npz" and feature_files.is_feature_archive(path):
        return _features(feature_files.read_feature_archive(path), options)
    if kind == "parquet" and feature_files.is_feature_table(path):
        return _features(feature_files.read_feature_table(path), options)
    if kind == "npz":
        return numpy_arrays.read_npz(path, target=options["target"], target_required=required)
    if kind == "idx":
        return idx.read_idx(path, target_required=required)
    if kind == "svmlight":
        return svmlight.read_svmlight(path, encoding=encoding)
    return tables.read_table(
        path,
        kind,
        target=options["target"],
        target_required=required,
        ignore=options["ignore"],
        encoding=encoding,
    )


def _features(dataset: Dataset, options: Options) -> Dataset:
    """Features of a backbone; DataError if they lack required labels or are those of another backbone."""
    if dataset.target is None and options["target_required"]:
        raise DataError(f"{dataset.source}: features without labels; embed images of known classes")
    known = (options["encoding"] or {}).get(feature_files.BACKBONE)
    found = dataset.encoding[feature_files.BACKBONE]
    if known is not None and any(known.get(name) != found[name] for name in ("fingerprint", "output", "preprocessing")):
        raise DataError(
            f"{dataset.source}: made by another backbone or pre-processing than the model's features; embed the images "
            "with the model's"
        )
    return dataset


def _check_options(kind: str, source: str, options: Options) -> None:
    """Raise DataError for options that would have no effect."""
    is_table = kind in ("csv", "parquet", "arrow", "arrow-stream")
    if options["size"] is not None and kind != "images":
        raise DataError(f"{source}: --size is for images, and this source has none")
    if options["skip_broken"] and kind != "images":
        raise DataError(f"{source}: --skip-broken is for images, and this source has none")
    if options["target"] is not None and not (is_table or kind in ("npz", "images")):
        raise DataError(f"{source}: --target names a column or array, and this source has none to name")
    if options["ignore"] and not is_table:
        raise DataError(f"{source}: --ignore names columns of a table, and this source is not a table")


def _as_size(size: tuple[int, int] | int | None) -> tuple[int, int] | None:
    if size is None:
        return None
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise DataError(f"--size is {height}×{width}; both must be at least 1")
    return height, width


def _finish(dataset: Dataset, encoding: Mapping[str, Any] | None) -> Dataset:
    """Record the number of features, or compare it with that of training."""
    if encoding is None:
        recorded = {**dataset.encoding, "n_features": dataset.n_features}
    else:
        recorded = dict(encoding)
        expected = recorded.get("n_features")
        if expected is not None and dataset.n_features != expected:
            raise DataError(
                f"{dataset.source}: {dataset.n_features} features per row, but training had {expected}; "
                "give data of the same kind as in training"
            )
    test = None if dataset.test is None else replace(dataset.test, encoding=recorded)
    return replace(dataset, encoding=recorded, test=test)
