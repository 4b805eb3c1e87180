"""The text of `model.json`: plain JSON with its own checksum."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import numpy as np

from crosshead.escaping import one_line


class ModelError(ValueError):
    """Error for a model folder that cannot be written or used; the message says why in one line.

    Examples
    --------
    >>> from crosshead.models import Model
    >>> Model.load("absent")  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    ...
    crosshead.models.json_document.ModelError: absent: no such model folder
    """

    def __init__(self, message: str):
        super().__init__(one_line(message))


def document_bytes(document: Mapping[str, Any]) -> bytes:
    """Format the document for people, in UTF-8."""
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    # Classes may be file names that are not valid text; they must survive the round trip.
    return f"{text}\n".encode("utf-8", "surrogatepass")


def document_digest(document: Mapping[str, Any]) -> str:
    """SHA-256 of the document's content, independent of its layout, without the entry of the digest itself."""
    content = {name: value for name, value in document.items() if name != "document_sha256"}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def plain(value: Any) -> Any:
    """Convert a value to JSON types: NumPy numbers and arrays become lists, non-finite numbers null.

    Examples
    --------
    >>> plain({"gap": np.float64(0.5), "seconds": float("nan"), "rows": (np.int64(3),)})
    {'gap': 0.5, 'seconds': None, 'rows': [3]}
    """
    if isinstance(value, Mapping):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(inner) for inner in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | bool | int | float):
        return value
    return str(value)


def package_version(package: str) -> str:
    """The installed version of a package, or "unknown"."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"
