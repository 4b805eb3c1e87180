from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from crosshead.report.page.thumbnails import LONGEST_SIDE, image_shape, thumbnails


def opened(address: str) -> Image.Image:
    kind, _, content = address.partition(",")
    assert kind == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(content)))


def test_pixels_are_kept_and_share_a_scale():
    first, second = thumbnails(np.array([[0.0, 8.0, 16.0, 4.0], [8.0, 8.0, 8.0, 8.0]]), (2, 2))
    assert np.asarray(opened(first)).tolist() == [[0, 128], [255, 64]]
    assert np.asarray(opened(second)).tolist() == [[128, 128], [128, 128]]


def test_large_pictures_in_colour_are_reduced():
    (address,) = thumbnails(np.random.default_rng(0).random((1, 200 * 100 * 3)), (200, 100, 3))
    image = opened(address)
    assert (image.mode, max(image.size)) == ("RGB", LONGEST_SIDE)


def test_constant_and_no_rows():
    assert np.asarray(opened(thumbnails(np.zeros((1, 4)), (2, 2))[0])).tolist() == [[0, 0], [0, 0]]
    assert thumbnails(np.zeros((0, 4)), (2, 2)) == []


@pytest.mark.parametrize("shape", [None, [5], [3, 3, 2], [2, 2, 2, 2], [0, 3]])
def test_what_is_no_picture(shape):
    assert image_shape(shape) is None
