"""Load backbones by the user's name for them, or find them by the fingerprint in a model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crosshead.backbones.cnn_backbone import KIND as CNN_KIND
from crosshead.backbones.cnn_backbone import CnnBackbone
from crosshead.backbones.locations import known_location
from crosshead.backbones.onnx_backbone import OnnxBackbone, split_output
from crosshead.backbones.onnx_files import NetworkFiles, read_content, read_network, regular_file
from crosshead.backbones.preprocessing import Stated
from crosshead.backbones.torch_backbone import PREFIX, TorchBackbone
from crosshead.data.backbone_record import described_backbone
from crosshead.data.errors import DataError
from crosshead.data.formats.feature_files import BACKBONE
from crosshead.models import Model
from crosshead.models.serialization import NETWORK

MAX_SHOWN = 100
"""Letters of a model's name for its network in messages."""


def load_backbone(
    spec: str, stated: Stated | None = None, *, threads: int | None = None
) -> OnnxBackbone | TorchBackbone | CnnBackbone:
    """Load the network `FILE.onnx[:output]` or `torch:module:callable`, or that of a model's folder.

    Parameters
    ----------
    stated : mapping, optional
        Known fields of the pre-processing: size, colours, crop, resample, white, mean, std, layout, as in
        `Preprocessing`. They take precedence over `FILE.json` or `preprocessor_config.json` beside the network.
    threads : int, optional
        Number of threads that run the network.

    Raises
    ------
    DataError
        If there is no such network, it does not take images, its shapes contradict ``stated``, or the package that runs
        it is missing.

    Examples
    --------
    >>> load_backbone("resnet.pt")  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    ...
    crosshead.data.errors.DataError: --backbone resnet.pt: give FILE.onnx[:output] or torch:module:callable
    """
    if spec.startswith(PREFIX):
        return TorchBackbone(spec, stated, threads)
    path, output = split_output(spec)
    if path.is_dir():
        return _of_model(path, stated, threads)
    if path.suffix.lower() != ".onnx":
        raise DataError(f"--backbone {spec}: give FILE.onnx[:output] or torch:module:callable")
    return OnnxBackbone(path, output, stated, threads)


def find_backbone(
    description: Mapping[str, Any], spec: str | None = None, *, network: bytes = b"", threads: int | None = None
) -> OnnxBackbone | TorchBackbone | CnnBackbone:
    """Find the backbone described by a model or a file of features, by its fingerprint.

    A description is not trusted: a file is used only after its SHA-256 has been compared. Without ``spec``, the file is
    searched by its name in the working folder, then at its last known location on this machine. Python code is imported
    only if ``spec`` names it.

    Parameters
    ----------
    description : mapping
        `Backbone.description`, as stored in models.
    spec : str, optional
        The backbone, as for `load_backbone`.
    network : bytes, optional
        `Model.network`, if the model has its own network.

    Raises
    ------
    DataError
        If the backbone is not found, has another fingerprint, or would have to be imported without ``spec``.

    Examples
    --------
    >>> model = Model.load("photos-model")  # doctest: +SKIP
    >>> find_backbone(model.encoding["backbone"]).n_features  # doctest: +SKIP
    1280
    """
    try:
        known = described_backbone(description)
    except ValueError as error:
        raise DataError(f"the description of the backbone cannot be used: {error}") from error
    if known["kind"] == "torch":
        return _imported(known, spec, threads)
    if spec is not None and spec.startswith(PREFIX):
        raise DataError(f"--backbone {spec}: the model's features come from the file {known['name']!r}; give that one")
    if known["kind"] == CNN_KIND:
        path, content = _own_network(known, spec, network)
        return CnnBackbone(path, known["preprocessing"], content, threads)
    files = _found(known) if spec is None else _named(known, spec)
    return OnnxBackbone(files.path, known["output"], known["preprocessing"], threads, files)


def _imported(known: Mapping[str, Any], spec: str | None, threads: int | None) -> TorchBackbone:
    if spec is None or not spec.startswith(PREFIX):
        name = known["name"] if len(known["name"]) <= MAX_SHOWN else f"{known['name'][:MAX_SHOWN]}…"
        raise DataError(
            f"the features come from Python code, {name!r} as the model says, and that runs only where you name it "
            f"yourself: --backbone {PREFIX}MODULE:NAME imports MODULE and calls NAME; read that code before you do"
        )
    found = TorchBackbone(spec, known["preprocessing"], threads)
    _compare(known, found.description["fingerprint"], spec)
    return found


def _named(known: Mapping[str, Any], spec: str) -> NetworkFiles:
    path, output = split_output(spec)
    files = read_network(path)
    _compare(known, files.fingerprint, spec)
    if output not in (None, known["output"]):
        raise DataError(f"--backbone {spec}: the model's features are the output {known['output']!r}; leave it out")
    return files


def _found(known: Mapping[str, Any]) -> NetworkFiles:
    """The first candidate file with the fingerprint; DataError if there is none."""
    for path in _candidates(known):
        try:
            files = read_network(path)
        except DataError:  # another file of the same name
            continue
        if files.fingerprint == known["fingerprint"]:
            return files
    raise _not_there(known, "FILE.onnx")


def _own_network(known: Mapping[str, Any], spec: str | None, network: bytes) -> tuple[Path, bytes]:
    """The network trained by crosshead: that of the model, or a file with its fingerprint."""
    if spec is not None:
        path = Path(spec) / NETWORK if Path(spec).is_dir() else Path(spec)
        with regular_file(path) as file:
            content = read_content(file, path)
        _compare(known, _sha256(content), spec)
        return path, content
    if network:
        _compare(known, _sha256(network), NETWORK)
        return Path(NETWORK), network
    for path in _candidates(known):
        try:
            with regular_file(path) as file:
                content = read_content(file, path)
        except DataError:
            continue
        if _sha256(content) == known["fingerprint"]:
            return path, content
    raise _not_there(known, "MODEL, the folder of the model that holds it")


def _candidates(known: Mapping[str, Any]) -> list[Path]:
    """Possible locations of a file: the working folder, and its last known location."""
    before = known_location(known["fingerprint"])
    return [path for path in (Path(known["name"]), before) if path is not None and path.is_file()]


def _not_there(known: Mapping[str, Any], what: str) -> DataError:
    return DataError(
        f"{known['name']}: the model's backbone is not there, a file with SHA-256 {known['fingerprint'][:12]}…; put it "
        f"into the working folder, or say where it is with --backbone {what}"
    )


def _compare(known: Mapping[str, Any], fingerprint: str, name: str) -> None:
    if fingerprint != known["fingerprint"]:
        raise DataError(
            f"{name}: not the backbone that the model was trained with (its fingerprint differs); "
            "give that one with --backbone, or train again"
        )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _of_model(folder: Path, stated: Stated | None, threads: int | None) -> CnnBackbone:
    """The network of a model that crosshead trained from images."""
    model = Model.load(folder)
    known = model.encoding.get(BACKBONE, {})
    if not model.network or known.get("kind") != CNN_KIND:
        raise DataError(f"--backbone {folder}: this model has no network of its own; train one with --backbone cnn")
    fixed = [name for name, value in (stated or {}).items() if value is not None]
    if fixed:
        raise DataError(f"--backbone {folder}: the model says how its network takes images; leave --{fixed[0]} out")
    _compare(known, _sha256(model.network), str(folder))
    return CnnBackbone(folder / NETWORK, known["preprocessing"], model.network, threads)
