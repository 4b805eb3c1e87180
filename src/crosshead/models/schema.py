"""The schema of `model.json`: readers of a model rely on it without further checks.

Unlisted names are allowed only in descriptions of the training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, get_args

from crosshead.data.backbone_record import described_backbone
from crosshead.data.images.decoding import COLOURS, MAX_PIXELS, RESAMPLINGS
from crosshead.losses import get_loss
from crosshead.models.json_document import ModelError
from crosshead.models.json_values import (
    Check,
    InvalidValueError,
    any_of,
    anything,
    by_kind,
    by_name,
    flag,
    items,
    name,
    number,
    one_of,
    or_none,
    record,
    text,
    utf8,
    whole,
)
from crosshead.scaling import ScalingKind


def check_document(document: Mapping[str, Any], source: str) -> None:
    """Raise ModelError, with the path of the value, for an invalid document."""
    try:
        _DOCUMENT(document, "")
        _check_sizes(document)
        _check_loss(document["loss"])
    except InvalidValueError as error:
        raise ModelError(f"{source}: model.json: {error}") from error


def _check_sizes(document: Mapping[str, Any]) -> None:
    """Check that the encoding has as many features as the model."""
    n_features, encoding = document["n_features"], document["encoding"]
    found = {"n_features": encoding.get("n_features", n_features)}
    if "shape" in encoding:
        found["shape"] = math.prod(encoding["shape"])
    if "columns" in encoding:
        found["columns"] = sum(map(_column_width, encoding["columns"]))
    for part, count in found.items():
        if count != n_features:
            raise InvalidValueError(f"encoding.{part}", f"that of {n_features} features", count)


def _column_width(column: Mapping[str, Any]) -> int:
    return len(column["categories"]) if column["kind"] == "category" else int(column.get("length", 1))


def _check_loss(loss: Mapping[str, Any]) -> None:
    try:
        get_loss(loss["name"], **loss["parameters"])
    except (TypeError, ValueError) as error:
        raise InvalidValueError("loss", f"a loss that is known ({error})", loss) from error


def _together(needing: str, needed: str) -> Check:
    def check(value: Any, place: str) -> None:
        if value.get(needing) is not None and needed not in value:
            raise InvalidValueError(f"{place}.{needed}", f"there, as it must be beside {needing}", None)

    return check


def _equally_long(value: Any, place: str) -> None:
    if len({len(column) for column in value.values()}) > 1:
        raise InvalidValueError(place, "an object of equally long lists", value)


def _statistics(value: Any, place: str) -> None:
    """Check mean and deviation: one number, or one per channel."""
    for part in ("mean", "std"):
        if len(value[part]) not in (1, COLOURS[value["colours"]]):
            raise InvalidValueError(f"{place}.{part}", "a list of one number, or of one per channel", value[part])


def _image(value: Any, place: str) -> None:
    """Check that size, mode and shape of images are consistent."""
    channels = [] if value["mode"] == "L" else [3]
    if value["shape"] != [*value["size"], *channels]:
        raise InvalidValueError(
            f"{place}.shape", f"that of size and mode, {[*value['size'], *channels]}", str(value["shape"])
        )


def _size(value: Any, place: str) -> None:
    """Check height and width by `crosshead.data.ImageForm`."""
    items(whole(1, MAX_PIXELS), 2, 2)(value, place)
    if math.prod(value) > MAX_PIXELS:
        raise InvalidValueError(place, f"a height and width of at most {MAX_PIXELS} pixels", str(value))


_COUNT = whole(1)
_AMOUNT = number(0.0)
_N_FEATURES = {"n_features": _COUNT}
_SHA256 = text

_COLUMN = by_kind(
    {
        "number": record({"kind": text, "name": name}),
        "boolean": record({"kind": text, "name": name}),
        "category": record({"kind": text, "name": name, "categories": items(name, 1)}),
        "vector": record({"kind": text, "name": name, "length": _COUNT}),
    }
)


_PREPROCESSING = record(
    {
        "size": _size,
        "colours": one_of(*COLOURS),
        "resample": one_of(*RESAMPLINGS),
        "white": number(above=0.0),
        "mean": items(number(), 1),
        "std": items(number(above=0.0), 1),
        "layout": one_of("nchw", "nhwc"),
    },
    {"crop": or_none(number(most=1.0, above=0.0))},
    also=[_statistics],
)


def _backbone(value: Any, place: str) -> None:
    """Check the description of the network and its pre-processing."""
    try:
        _PREPROCESSING(described_backbone(value)["preprocessing"], f"{place}.preprocessing")
    except ValueError as error:
        if isinstance(error, InvalidValueError):
            raise
        raise InvalidValueError(place, f"a description of a backbone ({error})", value) from error


_ENCODING = by_kind(
    {
        "array": record({"kind": text}, {"shape": items(_COUNT, 1, 32), **_N_FEATURES}),
        "images": record(
            {"kind": text, "size": _size, "mode": one_of("L", "RGB"), "shape": items(_COUNT, 2, 3)},
            {"resample": one_of(*RESAMPLINGS), **_N_FEATURES},
            also=[_image],
        ),
        "table": record(
            {"kind": text, "columns": items(_COLUMN, 1)},
            {"target": or_none(utf8), "target_type": or_none(one_of("int", "bool", "str")), **_N_FEATURES},
        ),
        "svmlight": record({"kind": text, "first_index": one_of(0, 1)}, _N_FEATURES),
        "embedding": record({"kind": text, "backbone": _backbone}, _N_FEATURES),
    },
    default=record({}),
)

_HYPERPARAMETERS = record(
    {},
    {
        "alpha": _AMOUNT,
        "l1_ratio": number(0.0, 1.0),
        "fit_intercept": flag,
        "class_weight": or_none(any_of(by_name(_AMOUNT), one_of("balanced"))),
        "tol": _AMOUNT,
        "max_iter": whole(),
        "max_time": or_none(_AMOUNT),
        "seed": whole(),
        "network": by_name(anything),
    },
    open_ended=True,
)

_TRAINING = record(
    {},
    {
        "source": text,
        "rows": _COUNT,
        "objective": or_none(number()),
        "gap": or_none(number()),
        "status": text,
        "iterations": whole(),
        "passes": whole(),
        "engine": text,
        "split_from": or_none(_SHA256),
        "seconds": or_none(number()),
        "history": record(
            {column: items(or_none(number())) for column in ("passes", "seconds", "objective", "gap")},
            also=[_equally_long],
        ),
        "network": by_name(anything),
    },
    open_ended=True,
    also=[_together("split_from", "rows")],
)

_CALIBRATION = record(
    {},
    {
        "source": text,
        "rows": _COUNT,
        "fingerprint": _SHA256,
        "source_fingerprint": _SHA256,
        "folds": whole(),
        "seed": whole(),
        "cross_entropy": or_none(number()),
        "ece": or_none(number()),
    },
    open_ended=True,
    also=[_together("source_fingerprint", "rows")],
)


def _classes(value: Any, place: str) -> None:
    kinds = {"int": whole(-(1 << 63)), "bool": flag, "str": text}
    record({"type": one_of(*kinds), "values": items(anything, 1)})(value, place)
    items(kinds[value["type"]])(value["values"], f"{place}.values")


_DOCUMENT = record(
    {
        "format": text,
        "schema_version": whole(),
        "loss": record({"name": text, "parameters": by_name(number())}),
        "classes": _classes,
        "n_features": _COUNT,
        "feature_names": or_none(items(text)),
        "scaling": record({"kind": one_of(*get_args(ScalingKind))}),
        "encoding": _ENCODING,
        "hyperparameters": _HYPERPARAMETERS,
        "training": _TRAINING,
        "fingerprint": text,
        "weights_sha256": _SHA256,
        "document_sha256": _SHA256,
    },
    {
        "crosshead_version": text,
        "library_versions": by_name(text),
        "temperature": number(above=0.0),
        "calibration": _CALIBRATION,
        "network_sha256": _SHA256,
    },
    open_ended=True,
)
