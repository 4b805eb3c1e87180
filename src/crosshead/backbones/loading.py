"""Backbones by what a person calls them, and again by what a model remembers of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crosshead.backbones.cnn_backbone import KIND as CNN_KIND
from crosshead.backbones.cnn_backbone import CnnBackbone
from crosshead.backbones.onnx_backbone import OnnxBackbone, split_output
from crosshead.backbones.preprocessing import Stated
from crosshead.backbones.torch_backbone import PREFIX, TorchBackbone
from crosshead.data.errors import DataError
from crosshead.data.feature_files import BACKBONE
from crosshead.models import Model
from crosshead.models.content import NETWORK


def load_backbone(
    spec: str, stated: Stated | None = None, *, threads: int | None = None
) -> OnnxBackbone | TorchBackbone | CnnBackbone:
    """The network that `FILE.onnx[:output]` or `torch:module:callable` names, or that of a model's folder.

    Parameters
    ----------
    stated : mapping, optional
        What is known of the pre-processing: size, colours, crop, resample, white, mean, std, layout, as in
        `Preprocessing`. It comes before what `FILE.json` or `preprocessor_config.json` beside the network say.

    Raises
    ------
    DataError
        Where there is no such network, it takes no images, its shapes contradict what is stated, or the package that
        runs it is missing.

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


def backbone_again(
    description: Mapping[str, Any], spec: str | None = None, *, threads: int | None = None
) -> OnnxBackbone | TorchBackbone | CnnBackbone:
    """The backbone that a model remembers; DataError where it is another one.

    A file is looked for where it was, then in the working folder under its name; or only where ``spec`` says.
    """
    remembered = str(description["path"])
    found: OnnxBackbone | TorchBackbone | CnnBackbone
    if description["kind"] == "onnx":
        path, output = (_where_it_was(Path(remembered)), None) if spec is None else split_output(spec)
        if not path.is_file():
            raise DataError(
                f"{path}: the model's backbone is not there; put it into the working folder, or say where it is "
                "with --backbone FILE"
            )
        stated = description["preprocessing"]
        found = OnnxBackbone(path, output or description["output"], stated, threads)
    elif description["kind"] == CNN_KIND:
        path = Path(remembered) if spec is None else Path(spec)
        path = path / NETWORK if path.is_dir() else path
        if not path.is_file():
            raise DataError(f"{path}: the model's network is not there; say --backbone and the folder of its model")
        found = CnnBackbone(path, description["preprocessing"], threads=threads)
    else:
        found = TorchBackbone(spec or remembered, description["preprocessing"], threads)
    if found.description["fingerprint"] != description["fingerprint"]:
        raise DataError(
            f"{spec or remembered}: not the backbone that the model was trained with (its fingerprint differs); "
            "give that one with --backbone, or train again"
        )
    return found


def _of_model(folder: Path, stated: Stated | None, threads: int | None) -> CnnBackbone:
    """The network of a model that crosshead trained from images to classes."""
    model = Model.load(folder)
    known = model.encoding.get(BACKBONE, {})
    if not model.network or known.get("kind") != CNN_KIND:
        raise DataError(f"--backbone {folder}: this model has no network of its own; train one with --backbone cnn")
    fixed = [name for name, value in (stated or {}).items() if value is not None]
    if fixed:
        raise DataError(f"--backbone {folder}: the model says how its network takes images; leave --{fixed[0]} out")
    return CnnBackbone(folder / NETWORK, known["preprocessing"], model.network, threads)


def _where_it_was(path: Path) -> Path:
    here = Path(path.name)
    return here if here.is_file() and not path.is_file() else path
