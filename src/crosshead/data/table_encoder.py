"""Convert the columns of a table to features: numbers unchanged, words one-hot, lists as vectors.

A column is described by a JSON object, learned in training and used again for later data:

* ``{"name": "age", "kind": "number"}`` one feature
* ``{"name": "member", "kind": "boolean"}`` one feature, 0 or 1
* ``{"name": "colour", "kind": "category", "categories": ["blue", "red"]}`` one feature per category
* ``{"name": "embedding", "kind": "vector", "length": 512}`` `length` features
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosshead.data.checks import Place
from crosshead.data.errors import DataError, load_package

MAX_CATEGORIES = 1000
"""A string column with more distinct values is considered an identifier or free text, and rejected."""

NUMBERS_SHARE = 0.9
"""A string column with many values of which at least this share are numbers is a damaged column of numbers."""

_OTHER_NUMBER = re.compile(r"[-+]?[$€£]? ?\d+([.,'’ ]\d+)*( ?[%€$£])?")
"""A number with a decimal comma, thousands separators, a currency or a percent sign."""

Column = Mapping[str, Any]


def column_features(columns: Sequence[Column]) -> list[str]:
    """The names of the features of the columns.

    Examples
    --------
    >>> column_features([{"name": "age", "kind": "number"},
    ...                  {"name": "hue", "kind": "category", "categories": ["blue", "red"]},
    ...                  {"name": "v", "kind": "vector", "length": 2}])
    ['age', 'hue=blue', 'hue=red', 'v[0]', 'v[1]']
    """
    names: list[str] = []
    for column in columns:
        name = column["name"]
        if column["kind"] == "category":
            names += [f"{name}={category}" for category in column["categories"]]
        elif column["kind"] == "vector":
            names += [f"{name}[{position}]" for position in range(column["length"])]
        else:
            names.append(name)
    return names


def learn_columns(table: Any, names: Sequence[str], place: Place, notes: list[str]) -> list[Column]:
    """Describe each named column of a training table."""
    return [_learn_column(table.column(name), name, place, notes) for name in names]


def _learn_column(column: Any, name: str, place: Place, notes: list[str]) -> Column:
    types = load_package("pyarrow", "crosshead[tables]", "reading tables").types
    if types.is_null(column.type):
        raise DataError(f"{place.source}: column {name!r} is empty in every row; leave it out with --ignore {name}")
    _check_no_nulls(column, name, place)
    if _is_list(types, column.type):
        return {"name": name, "kind": "vector", "length": _vector_length(column, name, place)}
    if types.is_boolean(column.type):
        return {"name": name, "kind": "boolean"}
    if is_number_type(types, column.type):
        return {"name": name, "kind": "number"}
    if _is_text(types, column.type) or types.is_dictionary(column.type):
        categories = _learn_categories(_as_text(column), name, place)
        if len(categories) == len(column) > 1:
            notes.append(f"{place.source}: column {name!r} has another value in every row; is it an identifier?")
        elif _look_like_numbers(categories):
            notes.append(
                f"{place.source}: column {name!r} is taken for {len(categories)} words, but looks like numbers, "
                f"such as {categories[0]!r}; write them with digits and a point only"
            )
        return {"name": name, "kind": "category", "categories": categories}
    what = "bytes that are not UTF-8 text" if types.is_binary(column.type) else f"values of type {column.type}"
    raise DataError(
        f"{place.source}: column {name!r} holds {what}; turn it into numbers or words, "
        f"or leave it out with --ignore {name}"
    )


def _look_like_numbers(categories: Sequence[str]) -> bool:
    """Whether all could be numbers that are written in some country's way; codes of mere digits are words."""
    odd = any(not _parses(category) for category in categories)
    return odd and all(_OTHER_NUMBER.fullmatch(category.strip()) for category in categories)


def _learn_categories(column: Any, name: str, place: Place) -> list[str]:
    categories = sorted(column.unique().to_pylist())
    if "" in categories:
        _refuse_empty(column, name, place)
    if len(categories) > 20:
        _refuse_damaged_numbers(categories, column, name, place)
    if len(categories) > MAX_CATEGORIES:
        raise DataError(
            f"{place.source}: column {name!r} has {len(categories)} different words, more than "
            f"{MAX_CATEGORIES}: an identifier or free text? "
            f"leave it out with --ignore {name}, or turn it into numbers (an embedding, TF-IDF)"
        )
    return categories


def _refuse_damaged_numbers(categories: Sequence[str], column: Any, name: str, place: Place) -> None:
    """One "?" among numbers makes a reader see words; one-hot numbers would be quietly useless."""
    words = {category for category in categories if not _parses(category)}
    if words and len(words) <= (1 - NUMBERS_SHARE) * len(categories):
        row, word = next((row, cell) for row, cell in enumerate(column.to_pylist()) if cell in words)
        raise DataError(
            f"{place.source}: column {name!r} holds numbers, but {word!r} at {place.row(row)}; "
            "fill in or remove such rows"
        )


def _parses(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _refuse_empty(column: Any, name: str, place: Place) -> None:
    row = column.to_pylist().index("")
    raise DataError(f"{place.source}: empty cell at {place.row(row)}, column {name!r}; fill it in")


def encode_columns(table: Any, columns: Sequence[Column], place: Place, notes: list[str]) -> NDArray[Any]:
    """Convert the described columns to features (N, D).

    float32 if it represents every number exactly (float16, float32, uint8, bool), else float64.
    """
    width = len(column_features(columns))
    features = np.zeros((table.num_rows, width), dtype=_common_dtype(table, columns))
    start = 0
    for column in columns:
        stop = start + len(column_features([column]))
        values = table.column(column["name"])
        _check_no_nulls(values, column["name"], place)
        _fill(features[:, start:stop], values, column, place, notes)
        start = stop
    return features


def _common_dtype(table: Any, columns: Sequence[Column]) -> type[np.float32] | type[np.float64]:
    pyarrow = load_package("pyarrow", "crosshead[tables]", "reading tables")
    small = {pyarrow.float16(), pyarrow.float32(), pyarrow.uint8(), pyarrow.bool_()}
    measured = [column["name"] for column in columns if column["kind"] in ("number", "vector")]
    found = [table.schema.field(name).type for name in measured]
    inner = [kind.value_type if _is_list(pyarrow.types, kind) else kind for kind in found]
    return np.float32 if inner and all(kind in small for kind in inner) else np.float64


def _fill(out: NDArray[Any], values: Any, column: Column, place: Place, notes: list[str]) -> None:
    kind, name = column["kind"], column["name"]
    types = load_package("pyarrow", "crosshead[tables]", "reading tables").types
    if kind == "vector":
        _fill_vector(out, values, column, place)
    elif kind == "category":
        if not (_is_text(types, values.type) or types.is_dictionary(values.type)):
            values = _cast_number_words(values, name, place)
        _fill_one_hot(out, _as_text(values), column, place, notes)
    elif kind == "boolean" and not (types.is_boolean(values.type) or types.is_integer(values.type)):
        raise _other_type(place, name, values.type, "true or false")
    elif not (is_number_type(types, values.type) or types.is_boolean(values.type)):
        raise _other_type(place, name, values.type, "numbers")
    else:
        out[:, 0] = _to_numpy(values)


def _cast_number_words(values: Any, name: str, place: Place) -> Any:
    """Convert whole numbers to words if the column had words in training, such as postcodes."""
    pyarrow = load_package("pyarrow", "crosshead[tables]", "reading tables")
    if not pyarrow.types.is_integer(values.type):
        raise _other_type(place, name, values.type, "words")
    return values.cast(pyarrow.string())


def _other_type(place: Place, name: str, found: Any, expected: str) -> DataError:
    return DataError(f"{place.source}: column {name!r} holds {found}; in training it held {expected}")


def _fill_one_hot(out: NDArray[Any], values: Any, column: Column, place: Place, notes: list[str]) -> None:
    pyarrow = load_package("pyarrow", "crosshead[tables]", "reading tables")
    compute = load_package("pyarrow.compute", "crosshead[tables]", "reading tables")
    categories = pyarrow.array(column["categories"], type=values.type)
    position = compute.fill_null(compute.index_in(values, value_set=categories), -1).to_numpy()
    known = np.flatnonzero(position >= 0)
    out[known, position[known]] = 1
    unseen = np.flatnonzero(position < 0)
    if unseen.size:
        first = values[int(unseen[0])].as_py()
        if first == "":
            _refuse_empty(values, column["name"], place)
        notes.append(
            f"{place.source}: column {column['name']!r} holds words unseen in training in "
            f"{unseen.size} row(s), first {first!r} at {place.row(int(unseen[0]))}; its features are 0 there"
        )


def _fill_vector(out: NDArray[Any], values: Any, column: Column, place: Place) -> None:
    types = load_package("pyarrow", "crosshead[tables]", "reading tables").types
    name, length = column["name"], column["length"]
    if not _is_list(types, values.type):
        raise _other_type(place, name, values.type, f"lists of {length} numbers")
    if _vector_length(values, name, place) != length:
        found = _vector_length(values, name, place)
        raise DataError(f"{place.source}: column {name!r} holds lists of {found} numbers; in training {length}")
    row = 0
    for chunk in values.chunks:
        flat = chunk.flatten()
        if flat.null_count:
            at = place.row(row + int(np.flatnonzero(flat.is_null().to_numpy(zero_copy_only=False))[0]) // length)
            raise DataError(f"{place.source}: a number is missing in the list at {at}, column {name!r}; fill it in")
        out[row : row + len(chunk)] = _to_numpy(flat).reshape(len(chunk), length)
        row += len(chunk)


def _vector_length(column: Any, name: str, place: Place) -> int:
    types = load_package("pyarrow", "crosshead[tables]", "reading tables").types
    compute = load_package("pyarrow.compute", "crosshead[tables]", "reading tables")
    if not (is_number_type(types, column.type.value_type) or types.is_boolean(column.type.value_type)):
        raise DataError(
            f"{place.source}: column {name!r} holds lists of {column.type.value_type}; give lists of numbers"
        )
    lengths = compute.list_value_length(column).to_numpy()
    ragged = np.flatnonzero(lengths != lengths[0])
    if ragged.size:
        row = int(ragged[0])
        raise DataError(
            f"{place.source}: the list at {place.row(row)}, column {name!r} has {lengths[row]} numbers, "
            f"the first row has {lengths[0]}; all must have the same length"
        )
    if lengths[0] == 0:
        raise DataError(f"{place.source}: column {name!r} holds empty lists, 0 features")
    return int(lengths[0])


def _check_no_nulls(column: Any, name: str, place: Place) -> None:
    if column.null_count:
        compute = load_package("pyarrow.compute", "crosshead[tables]", "reading tables")
        row = int(compute.indices_nonzero(compute.is_null(column))[0].as_py())
        raise DataError(
            f"{place.source}: empty or missing value at {place.row(row)}, column {name!r}; fill it in or remove the row"
        )


def _to_numpy(values: Any) -> NDArray[Any]:
    pyarrow = load_package("pyarrow", "crosshead[tables]", "reading tables")
    if pyarrow.types.is_decimal(values.type):
        values = values.cast(pyarrow.float64())
    chunked = pyarrow.chunked_array([values]) if isinstance(values, pyarrow.Array) else values
    return np.asarray(chunked.to_numpy())


def _as_text(column: Any) -> Any:
    pyarrow = load_package("pyarrow", "crosshead[tables]", "reading tables")
    if pyarrow.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.cast(pyarrow.string())


def _is_text(types: Any, arrow_type: Any) -> bool:
    return bool(types.is_string(arrow_type) or types.is_large_string(arrow_type) or types.is_string_view(arrow_type))


def _is_list(types: Any, arrow_type: Any) -> bool:
    return bool(types.is_list(arrow_type) or types.is_large_list(arrow_type) or types.is_fixed_size_list(arrow_type))


def cells_of(column: Any, name: str, source: str) -> list[Any]:
    """Convert a column to Python objects; DataError if some are out of range, as dates may be."""
    try:
        return list(column.to_pylist())
    except (ValueError, ArithmeticError) as error:
        raise DataError(f"{source}: column {name!r} holds {column.type} out of range ({error})") from error


def is_number_type(types: Any, arrow_type: Any) -> bool:
    """Whether an Arrow type is an integer, a float or a decimal."""
    kinds = (types.is_integer, types.is_floating, types.is_decimal)
    return any(kind(arrow_type) for kind in kinds)
