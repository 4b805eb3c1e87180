"""Rows of pixels as small images embedded in a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

LONGEST_SIDE = 48
"""Images are reduced to this many pixels; a hundred of them take less than a megabyte of a page."""


def image_shape(shape: Sequence[int] | None) -> tuple[int, ...] | None:
    """The shape of features that are an image, (height, width) or (height, width, 3); None otherwise.

    Examples
    --------
    >>> image_shape([28, 28]), image_shape([28, 28, 1]), image_shape([100, 4, 4]), image_shape(None)
    ((28, 28), (28, 28), None, None)
    """
    if shape is None or len(shape) not in (2, 3) or min(shape) < 1:
        return None
    sides = tuple(int(side) for side in shape)
    if len(sides) == 3 and sides[2] == 1:
        return sides[:2]
    return sides if len(sides) == 2 or sides[2] == 3 else None


def thumbnails(rows: NDArray[Any], shape: tuple[int, ...]) -> list[str]:
    """Encode rows (K, H·W) or (K, H·W·3) as PNG images in data URLs.

    All have the same scale, from the lowest value, or 0 if none is negative, to the highest.

    Examples
    --------
    >>> thumbnails(np.array([[0.0, 1.0, 2.0, 3.0]]), (2, 2))[0][:22]
    'data:image/png;base64,'
    """
    from PIL import Image

    values = np.asarray(rows, dtype=np.float64)
    if not values.size:
        return []
    low, high = min(0.0, float(values.min())), float(values.max())
    scaled = np.round((values - low) * (255.0 / (high - low) if high > low else 0.0)).astype(np.uint8)
    images = []
    for row in scaled:
        image = Image.fromarray(row.reshape(shape))
        image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.BOX)
        stream = io.BytesIO()
        image.save(stream, format="PNG", optimize=True)
        images.append("data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii"))
    return images
