"""A model is a folder: `model.safetensors` (arrays), `model.json` (all else), `README.md` (a model card), and
`network.safetensors` where crosshead trained the network that makes its features.

Nothing is pickled. What is loaded is what was saved: both files carry a SHA-256, and a file that was cut
short or altered is refused.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosshead.models.card import model_card
from crosshead.models.document import document_bytes, document_digest, package_version, plain
from crosshead.models.swap import backup_of, put_in_place, temporary_sibling, write_file
from crosshead.scaling import Scaler

FORMAT = "crosshead model"
SCHEMA_VERSION = 1
TEMPERATURE_VERSION = 2
"""The version of a document with a temperature: what only knows the first would ignore it, and so must refuse it."""

NETWORK_VERSION = 3
"""The version of a document with a network in a file of its own, which older programs would not find."""

WEIGHTS, DOCUMENT, CARD = "model.safetensors", "model.json", "README.md"
NETWORK = "network.safetensors"
FILES = frozenset({WEIGHTS, DOCUMENT, CARD, NETWORK})

Array = NDArray[Any]


class ModelError(ValueError):
    """A model folder that cannot be written or must not be used: one line that says why."""

    def __init__(self, message: str):
        super().__init__(" ".join(message.split("\n")).strip())


@dataclass(frozen=True, eq=False)
class Model:
    """What training leaves behind.

    * ``weight`` (C, D), ``bias`` (C,): float32 or float64, for features scaled by ``scaling``
    * ``classes`` (C,): the labels, of dtype int64, bool or str, in the order of the rows of ``weight``
    * ``loss``, ``loss_parameters``, ``hyperparameters``: what was minimised
    * ``encoding``: how the training source became numbers, see `crosshead.data`
    * ``training``: a summary (objective, gap, status, seconds, rows); numbers that are not finite are saved
      as null
    * ``fingerprint``: of the training data
    * ``temperature``: T > 0, where probabilities are softmax(z/T) whatever the loss; None leaves them to the loss
    * ``calibration``: a summary of how the temperature was found
    * ``network``: the bytes of the backbone's file, where crosshead trained it; ``encoding`` says how it takes images

    Examples
    --------
    >>> import tempfile
    >>> model = Model(np.eye(2), np.zeros(2), np.array(["no", "yes"]), "softmax")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save(Path(folder) / "model")
    ...     Model.load(Path(folder) / "model").classes.tolist()
    ['no', 'yes']
    """

    weight: Array
    bias: Array
    classes: Array
    loss: str
    loss_parameters: Mapping[str, Any] = field(default_factory=dict)
    scaling: Scaler = field(default_factory=Scaler)
    encoding: Mapping[str, Any] = field(default_factory=dict)
    feature_names: list[str] | None = None
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    temperature: float | None = None
    calibration: Mapping[str, Any] = field(default_factory=dict)
    network: bytes = b""

    def save(self, folder: str | Path) -> None:
        """Write the folder beside its place and move it there; a model folder of ours is replaced.

        Raises
        ------
        ModelError
            Where `folder` is something else than an absent or empty folder or one of our models, or where
            the model contradicts itself.
        """
        check_model(self, "the model")
        place = Path(folder).resolve()
        _check_place(place, str(folder))
        place.parent.mkdir(parents=True, exist_ok=True)
        weights = _weights_bytes(self)
        document = _document(self, weights)
        temporary = temporary_sibling(place)
        try:
            write_file(temporary / WEIGHTS, weights)
            if self.network:
                write_file(temporary / NETWORK, self.network)
            write_file(temporary / DOCUMENT, document_bytes(document))
            write_file(temporary / CARD, model_card(document).encode("utf-8", "replace"))
            put_in_place(temporary, place)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    @classmethod
    def load(cls, folder: str | Path) -> Model:
        """Read and check a model folder; ModelError where it is not exactly what was saved."""
        name = str(folder)
        place = Path(folder)
        if not place.exists() and backup_of(place.absolute()).is_dir():
            place = backup_of(place.absolute())  # a run was killed between its two renames
        document = _read_document(place, name)
        content = _read_file(place, WEIGHTS, name)
        if hashlib.sha256(content).hexdigest() != document.get("weights_sha256"):
            raise ModelError(f"{name}: {WEIGHTS} was altered or cut short (its SHA-256 does not match); save it anew")
        model = _model(document, _tensors(content, name), name)
        if document.get("network_sha256") is not None:
            model = _with_network(model, place, str(document["network_sha256"]), name)
        check_model(model, name)
        if model.weight.shape[1] != document.get("n_features"):
            raise ModelError(f"{name}: {DOCUMENT} and {WEIGHTS} differ in the number of features")
        return model


def _with_network(model: Model, place: Path, digest: str, name: str) -> Model:
    """The model with its network, which lies wherever the folder lies now."""
    network = _read_file(place, NETWORK, name)
    if hashlib.sha256(network).hexdigest() != digest:
        raise ModelError(f"{name}: {NETWORK} was altered or cut short (its SHA-256 does not match); save it anew")
    return replace(model, network=network, encoding=_at_place(model.encoding, str((place / NETWORK).resolve())))


def _at_place(encoding: Mapping[str, Any], path: str) -> dict[str, Any]:
    return {**encoding, "backbone": {**encoding["backbone"], "path": path}}


def check_model(model: Model, name: str) -> None:
    """Raise ModelError where shapes, dtypes or values of a model contradict each other."""
    n_classes = model.classes.shape[0] if model.classes.ndim == 1 else -1
    if model.weight.ndim != 2 or 0 in model.weight.shape or model.weight.shape[0] != n_classes:
        raise ModelError(
            f"{name}: weight has shape {model.weight.shape}, expected (classes, features) for "
            f"classes of shape {model.classes.shape}"
        )
    n_features = model.weight.shape[1]
    if model.bias.shape != (n_classes,):
        raise ModelError(f"{name}: bias has shape {model.bias.shape}, expected ({n_classes},)")
    for what, values in (("weight", model.weight), ("bias", model.bias)):
        if values.dtype.newbyteorder("=") not in (np.float32, np.float64):
            raise ModelError(f"{name}: {what} is {values.dtype}, expected float32 or float64")
        if not np.isfinite(values).all():
            raise ModelError(f"{name}: {what} holds NaN or infinite values")
    if model.classes.dtype.kind not in "iubU" or len(set(model.classes.tolist())) != n_classes:
        raise ModelError(f"{name}: classes must be distinct integers, strings or booleans")
    if model.feature_names is not None and len(model.feature_names) != n_features:
        raise ModelError(f"{name}: {len(model.feature_names)} feature names for {n_features} features")
    if model.temperature is not None and not (0 < model.temperature < float("inf")):
        raise ModelError(f"{name}: the temperature is {model.temperature}; it must be positive and finite")
    _check_scaling(model.scaling, n_features, name)


def _check_scaling(scaling: Scaler, n_features: int, name: str) -> None:
    if scaling.n_features not in (None, n_features):
        raise ModelError(f"{name}: the scaling has {scaling.n_features} features, the weight {n_features}")
    scale_shape = {"none": None, "maxabs": (1,), "standard": (n_features,)}[scaling.kind]
    found = None if scaling.scale is None else scaling.scale.shape
    if found != scale_shape:
        raise ModelError(f"{name}: the scale has shape {found}, expected {scale_shape} for {scaling.kind!r}")
    if scaling.centre is not None and (scaling.kind != "standard" or scaling.centre.shape != (n_features,)):
        raise ModelError(f"{name}: the centre has shape {scaling.centre.shape} for {scaling.kind!r}")
    for values in (scaling.centre, scaling.scale):
        if values is not None and not np.isfinite(values).all():
            raise ModelError(f"{name}: the scaling holds NaN or infinite values")
    if scaling.scale is not None and not (scaling.scale > 0.0).all():
        raise ModelError(f"{name}: the scaling divides by numbers that are not positive")


def _check_place(place: Path, name: str) -> None:
    """Only what is ours is ever replaced, and nothing of a person's own is deleted with it."""
    if not place.exists():
        return
    if not place.is_dir():
        raise ModelError(f"{name}: a file is in the way; choose another folder or remove it")
    names = {entry.name for entry in place.iterdir()}
    if not names:
        return
    if not _is_ours(place):
        raise ModelError(f"{name}: the folder holds something else than a model; choose another")
    foreign = sorted(names - FILES)
    if foreign:
        raise ModelError(f"{name}: the folder also holds {foreign[0]!r}; move that away first")


def _is_ours(place: Path) -> bool:
    try:
        document = json.loads((place / DOCUMENT).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and document.get("format") == FORMAT


def _weights_bytes(model: Model) -> bytes:
    from safetensors.numpy import save

    tensors = {"weight": model.weight, "bias": model.bias}
    scaling = {"scaling.centre": model.scaling.centre, "scaling.scale": model.scaling.scale}
    tensors |= {name: values for name, values in scaling.items() if values is not None}
    # safetensors writes an array's memory as it lies; a transposed view would come back scrambled.
    native = {name: np.ascontiguousarray(v, dtype=v.dtype.newbyteorder("=")) for name, v in tensors.items()}
    return bytes(save(native))


def _document(model: Model, weights: bytes) -> dict[str, Any]:
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
        "encoding": _at_place(model.encoding, NETWORK) if model.network else dict(model.encoding),
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


def _schema_version(model: Model) -> int:
    if model.network:
        return NETWORK_VERSION
    return SCHEMA_VERSION if model.temperature is None else TEMPERATURE_VERSION


def _read_file(place: Path, file_name: str, name: str) -> bytes:
    if not place.is_dir():
        raise ModelError(f"{name}: no such model folder")
    try:
        return (place / file_name).read_bytes()
    except OSError as error:
        raise ModelError(f"{name}: {file_name} is missing or unreadable; no crosshead model") from error


def _read_document(place: Path, name: str) -> dict[str, Any]:
    content = _read_file(place, DOCUMENT, name)
    try:
        document = json.loads(content)
    except ValueError as error:
        raise ModelError(f"{name}: {DOCUMENT} is not JSON; it was altered or cut short") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ModelError(f"{name}: {DOCUMENT} does not describe a crosshead model")
    version = document.get("schema_version")
    if version not in (SCHEMA_VERSION, TEMPERATURE_VERSION, NETWORK_VERSION):
        raise ModelError(
            f"{name}: {DOCUMENT} has schema version {version!r}, this crosshead reads 1 to 3; "
            "install the crosshead that wrote it"
        )
    if document.get("document_sha256") != document_digest(document):
        raise ModelError(f"{name}: {DOCUMENT} was altered after it was saved (its SHA-256 does not match)")
    return document


def _tensors(content: bytes, name: str) -> dict[str, Array]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = dict(load(content))
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{name}: {WEIGHTS} is not a safetensors file ({error})") from error
    for needed in ("weight", "bias"):
        if needed not in tensors:
            raise ModelError(f"{name}: {WEIGHTS} holds no {needed!r}")
    return tensors


def _model(document: Mapping[str, Any], tensors: Mapping[str, Array], name: str) -> Model:
    dtypes: dict[str, type[np.generic]] = {"int": np.int64, "bool": np.bool_, "str": np.str_}
    try:
        classes = document["classes"]
        scaling = Scaler.from_dict(
            {
                "kind": document["scaling"]["kind"],
                "n_features": document["n_features"],
                "centre": tensors.get("scaling.centre"),
                "scale": tensors.get("scaling.scale"),
            }
        )
        return Model(
            weight=tensors["weight"],
            bias=tensors["bias"],
            classes=np.array(classes["values"], dtype=dtypes[classes["type"]]),
            loss=str(document["loss"]["name"]),
            loss_parameters=document["loss"]["parameters"],
            scaling=scaling,
            encoding=document["encoding"],
            feature_names=document["feature_names"],
            hyperparameters=document["hyperparameters"],
            training=document["training"],
            fingerprint=str(document["fingerprint"]),
            temperature=float(document["temperature"]) if "temperature" in document else None,
            calibration=document.get("calibration", {}),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ModelError(f"{name}: {DOCUMENT} lacks or garbles {error}") from error
