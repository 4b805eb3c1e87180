"""Read predictions of any tool: tables, arrays, JSON lines, and the output of `crosshead predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from crosshead.data.checks import Place, as_labels, as_names, check_lengths
from crosshead.data.dataset import Array
from crosshead.data.detect import kind_of_file
from crosshead.data.errors import DataError, load_package
from crosshead.data.formats import numpy_arrays, tables
from crosshead.data.formats.csv import read_csv
from crosshead.data.formats.json_text import parse_json
from crosshead.data.formats.npz_archive import member, open_archive
from crosshead.data.memmap import refuse_shortened
from crosshead.data.predictions.columns import ROW_NAMES, Wanted, predictions_of_table
from crosshead.data.predictions.predictions import TEXT_TOLERANCE, Kind, Predictions, target_of

PROBABILITY_ARRAYS = ("proba", "probabilities", "probability", "probs", "p", "P")
SCORE_ARRAYS = ("scores", "logits", "z", "Z")
JSON_SUFFIXES = frozenset({".jsonl", ".ndjson", ".json"})
NESTED: dict[str, Kind] = {"probabilities": "probabilities", "proba": "probabilities", "scores": "scores"}
KINDS = ".csv, .tsv, .parquet, .feather, .arrow, .npz, .jsonl, .json or P.npy,y.npy"


def read_predictions(
    source: str | Path,
    *,
    target: str | None = None,
    row_id: str | None = None,
    ignore: tuple[str, ...] = (),
    scores: bool = False,
    target_required: bool = True,
) -> Predictions:
    r"""Read predictions and their labels from a file.

    * a table (CSV, TSV, Parquet, Feather, Arrow): one column per class, named after it or ``probability_<class>``,
      ``proba_<class>``, ``prob_<class>``, ``score_<class>``, ``logit_<class>``; columns with other names are used only
      if they are numeric
    * JSON lines, one object per row, with the same names, or a list or object ``probabilities`` or ``scores``; or the
      document of `crosshead predict --json`
    * ``.npz``: an array ``proba``, ``probabilities`` or ``scores`` (N, C), optionally ``classes`` (C,), and labels
    * ``P.npy,y.npy``: two arrays, memory-mapped; classes are 0 to C − 1

    Labels are in the column or array ``target``, by default target, label, class or y; names of rows in ``row_id``, by
    default row, file, id or row_id; ``ignore`` lists columns to ignore. With ``scores`` the outputs are scores whatever
    their names. Raises DataError for files that cannot be read; probabilities are validated when they are used.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "predictions.csv"
    ...     _ = path.write_text("cat,dog,label\n0.75,0.25,cat\n0.5,0.5,dog\n")
    ...     read_predictions(path).labels.tolist()
    ['cat', 'dog']
    """
    wanted = Wanted(target, row_id, ignore, scores, target_required)
    with refuse_shortened():
        return _read(source, wanted)


def _read(source: Any, wanted: Wanted) -> Predictions:
    name, path = str(source), Path(source)
    pair = None if path.exists() else numpy_arrays.split_pair(name)
    if pair is not None:
        return _read_pair(*pair, name, wanted)
    if not path.is_file():
        raise DataError(f"{name}: no such file")
    if path.suffix.lower() in JSON_SUFFIXES:
        return _read_json(path, wanted)
    kind = kind_of_file(path)
    if kind == "npz":
        return _read_npz(path, wanted)
    if kind == "npy":
        siblings = numpy_arrays.sibling_labels(path)
        if siblings is None and wanted.target_required:
            raise DataError(f"{name}: no labels; name both files, as {path.name},y.npy")
        return _read_pair(path, siblings, name, wanted)
    if kind not in ("csv", "parquet", "arrow", "arrow-stream"):
        raise DataError(f"{name}: not a file of predictions; what can be read: {KINDS}")
    table = read_csv(path, None, None) if kind == "csv" else tables.read_binary(path, kind)
    return predictions_of_table(table, name, wanted, below_header=kind == "csv")


def _read_pair(outputs_path: Path, labels_path: Path | None, source: str, wanted: Wanted) -> Predictions:
    outputs = numpy_arrays.load_npy(outputs_path)
    _check_matrix(outputs, outputs_path.name, source)
    classes, target = np.arange(outputs.shape[1]), None
    if labels_path is not None:
        place = Place(str(labels_path))
        labels = as_labels(np.array(numpy_arrays.load_npy(labels_path)), labels_path.stem, place)
        check_lengths(len(outputs), labels.size, (outputs_path.name, labels_path.name), source)
        target = target_of(labels, classes, place)
    return Predictions(outputs, classes, target, kind="scores" if wanted.scores else "probabilities", source=source)


def _read_npz(path: Path, wanted: Wanted) -> Predictions:
    source = str(path)
    with open_archive(path) as archive:
        names = list(archive.files)
        held = [name for name in names if name in PROBABILITY_ARRAYS + SCORE_ARRAYS]
        if len(held) != 1:
            found = numpy_arrays.listed(held or names)
            raise DataError(f"{source}: which array holds the predictions? found {found}; name one 'proba' or 'scores'")
        outputs = member(archive, held[0], source)
        _check_matrix(outputs, held[0], source)
        place = Place(source)
        given = as_labels(member(archive, "classes", source), "classes", place) if "classes" in names else None
        classes = np.arange(outputs.shape[1]) if given is None else given
        label_name = numpy_arrays.label_name_of(names, wanted.target, source)
        if label_name is None and wanted.target_required:
            raise DataError(f"{source}: no array of labels; found {numpy_arrays.listed(names)}; say --target NAME")
        target = None
        if label_name is not None:
            labels = as_labels(member(archive, label_name, source), label_name, place)
            check_lengths(len(outputs), labels.size, (held[0], label_name), source)
            target = target_of(labels, classes, place)
        row_id = wanted.row_id or next((name for name in names if name in ROW_NAMES), None)
        if row_id is not None and row_id not in names:
            raise DataError(f"{source}: no array {row_id!r}; found {numpy_arrays.listed(names)}")
        row_names = None if row_id is None else as_names(member(archive, row_id, source), row_id, place)
    kind: Kind = "scores" if wanted.scores or held[0] in SCORE_ARRAYS else "probabilities"
    return Predictions(outputs, classes, target, kind=kind, row_names=row_names, source=source)


def _check_matrix(outputs: Array, name: str, source: str) -> None:
    if outputs.ndim != 2 or 0 in outputs.shape or outputs.dtype.kind not in "biuf":
        raise DataError(f"{source}: {name!r} is {outputs.dtype} of shape {outputs.shape}; give numbers (rows, classes)")


def _read_json(path: Path, wanted: Wanted) -> Predictions:
    source, text = str(path), path.read_bytes()
    if not text.strip():
        raise DataError(f"{source}: the file is empty")
    classes: list[Any] | None = None
    try:
        document = parse_json(text)
    except ValueError:
        rows = _json_lines(text, source)
    else:
        rows = [document]
        if isinstance(document, dict) and isinstance(document.get("predictions"), list):
            rows, classes = document["predictions"], document.get("classes")
            if classes is not None and not isinstance(classes, list):
                raise DataError(f"{source}: 'classes' is {classes!r:.60}; give a list with the name of each")
        elif isinstance(document, list):
            rows = document
    columns = _columns([_flat(row, number, source, classes) for number, row in enumerate(rows, 1)], source)
    pyarrow = load_package("pyarrow", "crosshead[tables]", "reading JSON")
    try:
        table = pyarrow.table(columns)
    except (
        pyarrow.ArrowException,
        TypeError,
        ValueError,
        OverflowError,
    ) as error:  # values unknown to Arrow
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(
            f"{source}: a column holds values of several types, or values that tables cannot hold ({reason})"
        ) from error
    found = predictions_of_table(table, source, wanted, below_header=False)
    return Predictions(
        found.outputs, found.classes, found.target, found.kind, found.row_names, TEXT_TOLERANCE, found.source
    )


def _json_lines(text: bytes, source: str) -> list[Any]:
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                rows.append(parse_json(line))
            except ValueError as error:
                raise DataError(f"{source}: line {number} is not JSON ({error})") from error
    return rows


def _flat(row: Any, number: int, source: str, classes: list[Any] | None) -> dict[str, Any]:
    """Flatten an object to one plain value per name; lists or objects of outputs become one entry per class."""
    if not isinstance(row, dict):
        raise DataError(f"{source}: entry {number} is not a JSON object; give one object per row")
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if name not in NESTED or not isinstance(value, list | dict):
            flat[name] = value
            continue
        labels = list(value) if isinstance(value, dict) else (classes or list(range(len(value))))
        outputs = list(value.values()) if isinstance(value, dict) else value
        if len(labels) != len(outputs):
            raise DataError(f"{source}: entry {number} has {len(outputs)} {name} for {len(labels)} classes")
        prefix = "score_" if NESTED[name] == "scores" else "proba_"
        flat |= {f"{prefix}{label}": output for label, output in zip(labels, outputs, strict=True)}
    return flat


def _columns(rows: list[dict[str, Any]], source: str) -> dict[str, list[Any]]:
    if not rows:
        raise DataError(f"{source}: no rows")
    names = rows[0].keys()
    for number, row in enumerate(rows, start=1):
        if row.keys() != names:
            odd = sorted(set(row) ^ set(names))[0]
            raise DataError(f"{source}: entry {number} and the first differ in {odd!r}; all need the same names")
    return {name: [row[name] for row in rows] for name in names}
