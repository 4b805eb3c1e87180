"""Convert a model to the contents of its files, a document and tensors, and back."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crosshead.data.backbone_record import described_encoding
from crosshead.models.json_document import ModelError, document_digest, package_version, plain
from crosshead.scaling import Scaler

if TYPE_CHECKING:
    from crosshead.models.model import Model

FORMAT = "crosshead model"
SCHEMA_VERSION = 1
TEMPERATURE_VERSION = 2
"""The version of documents with a temperature, which readers of version 1 would ignore."""

NETWORK_VERSION = 3
"""The version of documents with a network in a separate file, which older readers would not find."""

VERSIONS = (SCHEMA_VERSION, TEMPERATURE_VERSION, NETWORK_VERSION)

WEIGHTS, DOCUMENT, CARD = "model.safetensors", "model.json", "README.md"
NETWORK = "network.safetensors"
FILES = frozenset({WEIGHTS, DOCUMENT, CARD, NETWORK})

Array = NDArray[Any]


def weights_bytes(model: Model) -> bytes:
    """Convert weights, biases and scaling to a safetensors file."""
    from safetensors.numpy import save

    tensors = {"weight": model.weight, "bias": model.bias}
    scaling = {"scaling.centre": model.scaling.centre, "scaling.scale": model.scaling.scale}
    tensors |= {name: values for name, values in scaling.items() if values is not None}
    # safetensors writes an array's memory unchanged; a transposed view would be scrambled.
    native = {name: np.ascontiguousarray(v, dtype=v.dtype.newbyteorder("=")) for name, v in tensors.items()}
    return bytes(save(native))


def document_of(model: Model, weights: bytes) -> dict[str, Any]:
    """The document with everything else, the digests of the other files and its own."""
    kinds = {"i": "int", "u": "int", "b": "bool", "U": "str"}
    document = {
        "format": FORMAT,
        "schema_version": _schema_version(model),
        "crosshead_version": package_version("crosshead"),
        "loss": {"name": model.loss, "parameters": dict(model.loss_parameters)},
        "classes": {"type": kinds[model.classes.dtype.kind], "values": model.classes.tolist()},
        "n_features": int(model.weight.shape[1]),
        "feature_names": model.feature_names,
        "scaling": {"kind": model.scaling.kind},
        "encoding": _described(model.encoding),
        "hyperparameters": dict(model.hyperparameters),
        "training": dict(model.training),
        "fingerprint": model.fingerprint,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "library_versions": {
            "python": platform.python_version(),
            **{name: package_version(name) for name in ("numpy", "scipy", "safetensors")},
        },
    }
    if model.temperature is not None:
        document |= {"temperature": model.temperature, "calibration": dict(model.calibration)}
    if model.network:
        document["network_sha256"] = hashlib.sha256(model.network).hexdigest()
    finished: dict[str, Any] = plain(document)
    finished["document_sha256"] = document_digest(finished)
    return finished


def _described(encoding: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return described_encoding(encoding)
    except ValueError as error:
        raise ModelError(f"the model: {error}") from error


def _schema_version(model: Model) -> int:
    if model.network:
        return NETWORK_VERSION
    return SCHEMA_VERSION if model.temperature is None else TEMPERATURE_VERSION


def plain_classes(classes: Array) -> Array:
    """Convert classes to strings or integers, whatever array they are in.

    An estimator fitted to a column of a data frame has Python objects as labels.

    Examples
    --------
    >>> plain_classes(np.array(["no", "yes"], dtype=object)).dtype.kind, plain_classes(np.array([0.0, 2.0])).tolist()
    ('U', [0, 2])
    """
    labels = classes.tolist()
    if classes.dtype.kind in "OT" and all(isinstance(label, str) for label in labels):
        return np.array(labels, dtype=np.str_)
    if classes.dtype.kind == "O" and all(type(label) is int for label in labels):
        return np.array(labels)
    if classes.dtype.kind == "f" and all(label.is_integer() and abs(label) <= 2**53 for label in np.ravel(labels)):
        return classes.astype(np.int64)
    return classes


def tensors_of(content: bytes, name: str) -> dict[str, Array]:
    """The arrays of a safetensors file; ModelError if it is invalid or lacks some."""
    from safetensors.numpy import load

    try:
        tensors = dict(load(content))
    except Exception as error:  # dtypes unknown to NumPy raise other exceptions than SafetensorError
        raise ModelError(f"{name}: {WEIGHTS} is not a safetensors file ({error})") from error
    for needed in ("weight", "bias"):
        if needed not in tensors:
            raise ModelError(f"{name}: {WEIGHTS} holds no {needed!r}")
    return tensors


def fields_of(document: Mapping[str, Any], tensors: Mapping[str, Array]) -> dict[str, Any]:
    """The fields of a model, except its network, from a validated document."""
    dtypes: dict[str, type[np.generic]] = {"int": np.int64, "bool": np.bool_, "str": np.str_}
    classes = document["classes"]
    scaling = Scaler.from_dict(
        {
            "kind": document["scaling"]["kind"],
            "n_features": document["n_features"],
            "centre": tensors.get("scaling.centre"),
            "scale": tensors.get("scaling.scale"),
        }
    )
    return {
        "weight": tensors["weight"],
        "bias": tensors["bias"],
        "classes": np.array(classes["values"], dtype=dtypes[classes["type"]]),
        "loss": str(document["loss"]["name"]),
        "loss_parameters": document["loss"]["parameters"],
        "scaling": scaling,
        "encoding": described_encoding(document["encoding"]),
        "feature_names": document["feature_names"],
        "hyperparameters": document["hyperparameters"],
        "training": document["training"],
        "fingerprint": str(document["fingerprint"]),
        "temperature": float(document["temperature"]) if "temperature" in document else None,
        "calibration": document.get("calibration", {}),
    }
