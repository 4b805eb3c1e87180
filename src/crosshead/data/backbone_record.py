"""The description of a backbone in a model or a file of features: which one it was, not where it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

BACKBONE = "backbone"
EMBEDDING = "embedding"
"""The kind of an encoding with features of a backbone."""

KINDS = ("onnx", "torch", "cnn")
MAX_IMAGES = 1 << 16
"""Limit of the batch size in a document."""

MAX_STAGES = 1000
_SHA_256 = re.compile(r"[0-9a-f]{64}")


def described_backbone(document: Any) -> dict[str, Any]:
    """Validate the description of a backbone; ValueError if something is missing or wrong.

    It has ``kind``, ``name`` (a file name without its folder, for messages and look-up), ``output``, ``fingerprint``,
    ``preprocessing`` (validated by its reader), and optionally ``network`` and ``batch_size``. Earlier documents have
    ``path`` instead of ``name``, of which the last part is used.

    Examples
    --------
    >>> old = {"kind": "onnx", "path": "/home/me/net.onnx", "output": "f", "fingerprint": 64 * "0", "preprocessing": {}}
    >>> described_backbone(old)["name"]
    'net.onnx'
    """
    if not isinstance(document, Mapping):
        raise ValueError("the description of the backbone is not a JSON object")
    kind, output, fingerprint = (document.get(name) for name in ("kind", "output", "fingerprint"))
    if kind not in KINDS:
        raise ValueError(f"the backbone's kind is {kind!r}, expected one of {', '.join(KINDS)}")
    if output is not None and not isinstance(output, str):
        raise ValueError(f"the backbone's output is {output!r}, expected a name or null")
    if not isinstance(fingerprint, str) or _SHA_256.fullmatch(fingerprint) is None:
        raise ValueError("the backbone's fingerprint is missing or not a SHA-256 in hexadecimal digits")
    preprocessing = document.get("preprocessing")
    if not isinstance(preprocessing, Mapping):
        raise ValueError("the backbone's preprocessing is missing or not a JSON object")
    checked = {"kind": kind, "name": _name(document), "output": output, "fingerprint": fingerprint}
    if document.get("network") is not None:
        checked["network"] = _network(document["network"])
    checked["preprocessing"] = dict(preprocessing)
    if document.get("batch_size") is not None:
        checked["batch_size"] = _whole(document["batch_size"], "the backbone's batch size", MAX_IMAGES)
    return checked


def described_encoding(encoding: Any) -> dict[str, Any]:
    """Validate the description of the backbone in an encoding; ValueError if it is missing or wrong."""
    if not isinstance(encoding, Mapping):
        raise ValueError("the encoding is not a JSON object")
    if BACKBONE in encoding:
        return {**encoding, BACKBONE: described_backbone(encoding[BACKBONE])}
    if encoding.get("kind") == EMBEDDING:
        raise ValueError("the encoding lacks the description of its backbone")
    return dict(encoding)


def base_name(path: str) -> str:
    r"""The last part of a path of any operating system.

    Examples
    --------
    >>> base_name("/home/me/net.onnx"), base_name("C:\\nets\\net.onnx"), base_name("torch:my.networks:make")
    ('net.onnx', 'net.onnx', 'torch:my.networks:make')
    """
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2]


def _name(document: Mapping[str, Any]) -> str:
    name, path = document.get("name"), document.get("path")
    if name is None and isinstance(path, str):
        name = base_name(path)
    if not isinstance(name, str) or name in ("", ".", "..") or name != base_name(name) or "\0" in name:
        raise ValueError(f"the backbone's name is {name!r}, expected a file's name without a folder")
    return name


def _network(network: Any) -> dict[str, Any]:
    """Validate the stages of crosshead's own network; its file has them too, and takes precedence."""
    widths = network.get("widths") if isinstance(network, Mapping) else None
    if not isinstance(widths, list) or not 0 < len(widths) <= MAX_STAGES:
        raise ValueError("the backbone's network has no list of widths")
    for width in widths:
        _whole(width, "a width of the backbone's network", 1 << 31)
    return dict(network)


def _whole(value: Any, what: str, most: int) -> int:
    if type(value) is not int or not 1 <= value <= most:
        raise ValueError(f"{what} is {value!r}, expected a whole number from 1 to {most}")
    return value
