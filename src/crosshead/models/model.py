"""A model is a folder: `model.safetensors` (arrays), `model.json` (everything else), `README.md` (a model card), and
`network.safetensors` if crosshead trained the network that computes its features.

Nothing is pickled. Files have SHA-256 digests, and a truncated or altered file is rejected.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from crosshead.atomic_files import atomic_folder, backup_of
from crosshead.data.files import read_regular
from crosshead.data.formats.json_text import parse_json
from crosshead.data.limits import free_memory
from crosshead.models.card import model_card
from crosshead.models.consistency import check_model
from crosshead.models.json_document import ModelError, document_bytes, document_digest
from crosshead.models.schema import check_document
from crosshead.models.serialization import (
    CARD,
    DOCUMENT,
    FILES,
    FORMAT,
    NETWORK,
    VERSIONS,
    WEIGHTS,
    document_of,
    fields_of,
    plain_classes,
    tensors_of,
    weights_bytes,
)
from crosshead.scaling import Scaler

Array = NDArray[Any]

MAX_DOCUMENT_BYTES = 1 << 26
"""A million classes with names of sixty letters."""


@dataclass(frozen=True, eq=False)
class Model:
    """A trained linear model, with everything needed to apply it.

    * ``weight`` (C, D), ``bias`` (C,): float32 or float64, for features scaled by ``scaling``
    * ``classes`` (C,): the labels, of dtype int64, bool or str, in the order of the rows of ``weight``
    * ``loss``, ``loss_parameters``, ``hyperparameters``: those of the objective
    * ``encoding``: how the training source was converted to numbers, see `crosshead.data`
    * ``training``: a summary (objective, gap, status, seconds, rows); non-finite numbers are saved as null
    * ``fingerprint``: that of the training data
    * ``temperature``: T > 0 if probabilities are softmax(z/T) for any loss; None if they are those of the loss
    * ``calibration``: a summary of the fit of the temperature
    * ``network``: the bytes of the backbone's file, if crosshead trained it; ``encoding`` has its image format

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
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

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", plain_classes(self.classes))

    def save(self, folder: str | Path) -> None:
        """Write the folder to a temporary name and move it into place; an existing model folder is replaced.

        Raises
        ------
        ModelError
            If `folder` exists and is neither empty nor a model, or if the model is inconsistent.
        """
        check_model(self, "the model")
        place = Path(folder).resolve()
        _check_place(place, str(folder))
        place.parent.mkdir(parents=True, exist_ok=True)
        weights = weights_bytes(self)
        document = document_of(self, weights)
        check_document(document, "the model")  # what is saved can be loaded
        with atomic_folder(folder) as temporary:
            (temporary / WEIGHTS).write_bytes(weights)
            if self.network:
                (temporary / NETWORK).write_bytes(self.network)
            (temporary / DOCUMENT).write_bytes(document_bytes(document))
            (temporary / CARD).write_bytes(model_card(document).encode("utf-8", "replace"))

    @classmethod
    def load(cls, folder: str | Path) -> Model:
        """Read and validate a model folder; ModelError unless it is exactly what was saved."""
        name = str(folder)
        place = Path(folder)
        if not place.exists() and backup_of(place.absolute()).is_dir():
            place = backup_of(place.absolute())  # a run was killed between two renames
        document = _read_document(place, name)
        content = _read_file(place, WEIGHTS, name)
        if hashlib.sha256(content).hexdigest() != document.get("weights_sha256"):
            raise ModelError(f"{name}: {WEIGHTS} was altered or cut short (its SHA-256 does not match); save it anew")
        model = Model(**fields_of(document, tensors_of(content, name)))
        if document.get("network_sha256") is not None:
            model = _with_network(model, place, str(document["network_sha256"]), name)
        check_model(model, name)
        if model.weight.shape[1] != document.get("n_features"):
            raise ModelError(f"{name}: {DOCUMENT} and {WEIGHTS} differ in the number of features")
        return model


def _with_network(model: Model, place: Path, digest: str, name: str) -> Model:
    """The model with its network, read from its folder."""
    network = _read_file(place, NETWORK, name)
    if hashlib.sha256(network).hexdigest() != digest:
        raise ModelError(f"{name}: {NETWORK} was altered or cut short (its SHA-256 does not match); save it anew")
    return replace(model, network=network)


def _check_place(place: Path, name: str) -> None:
    """Raise ModelError unless the folder is absent, empty or a model without other files."""
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
        document = parse_json(read_regular(place / DOCUMENT, MAX_DOCUMENT_BYTES))
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and document.get("format") == FORMAT


def _read_file(place: Path, file_name: str, name: str) -> bytes:
    if not place.is_dir():
        raise ModelError(f"{name}: no such model folder")
    most = MAX_DOCUMENT_BYTES if file_name == DOCUMENT else free_memory() or sys.maxsize
    try:
        return read_regular(place / file_name, most)
    except OSError as error:
        reason = "" if isinstance(error, FileNotFoundError) else f" ({error.strerror})"
        raise ModelError(f"{name}: {file_name} is missing or unreadable{reason}; not a crosshead model") from error


def _read_document(place: Path, name: str) -> dict[str, Any]:
    content = _read_file(place, DOCUMENT, name)
    try:
        document = parse_json(content, strict=True)
    except ValueError as error:
        raise ModelError(f"{name}: {DOCUMENT} is not JSON ({error}); it was altered or cut short") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ModelError(f"{name}: {DOCUMENT} does not describe a crosshead model")
    version = document.get("schema_version")
    if version not in VERSIONS:
        raise ModelError(
            f"{name}: {DOCUMENT} has schema version {version!r}, this crosshead reads 1 to 3; "
            "install the crosshead that wrote it"
        )
    if document.get("document_sha256") != document_digest(document):
        raise ModelError(f"{name}: {DOCUMENT} was altered after it was saved (its SHA-256 does not match)")
    check_document(document, name)
    return document
