from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from crosshead.data import DataError, ImageForm
from crosshead.data.images.decoding import BrokenImageError, decode, read_header

COLOUR = np.random.default_rng(3).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def test_colours_as_the_standards_say():
    """ITU-R 601 luma for grey; CMYK without black is the complement of its inks."""
    form = ImageForm((5, 7), 1)
    luma = COLOUR @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(decode(encoded(Image.fromarray(COLOUR)), form)[:, :, 0], luma, atol=1.0)
    red = Image.new("CMYK", (7, 5), (0, 255, 255, 0))
    found = decode(encoded(red, "TIFF"), ImageForm((5, 7), 3))
    np.testing.assert_array_equal(found, np.broadcast_to([255, 0, 0], (5, 7, 3)))


def test_sixteen_bits_keep_their_range():
    values = np.array([[0, 257, 65535, 32896]], dtype=np.uint16)
    found = decode(encoded(Image.fromarray(values)), ImageForm((1, 4), 1))
    assert found.ravel().tolist() == [0, 1, 255, 128]


def test_opacity_is_dropped_or_kept():
    opaque = np.concatenate([COLOUR, np.full((5, 7, 1), 9, dtype=np.uint8)], axis=2)
    picture = encoded(Image.fromarray(opaque))
    np.testing.assert_array_equal(decode(picture, ImageForm((5, 7), 3)), COLOUR)
    np.testing.assert_array_equal(decode(picture, ImageForm((5, 7), 4)), opaque)
    assert decode(picture, ImageForm((5, 7), 2))[:, :, 1].tolist() == [[9] * 7] * 5
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(COLOUR)), ImageForm((5, 7), 4))[:, :, 3], 255)


def test_a_palette_becomes_its_colours():
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 10, 200, 30])
    np.testing.assert_array_equal(decode(encoded(palette), ImageForm((4, 4), 3))[2, 3], [10, 200, 30])


def test_one_pixel_fills_the_form():
    picture = encoded(Image.new("RGB", (1, 1), (9, 8, 7)))
    for crop in (None, 0.5):
        np.testing.assert_array_equal(decode(picture, ImageForm((3, 4), 3, crop))[1, 1], [9, 8, 7])


def test_a_crop_keeps_proportions():
    """A wide image of two halves and a square form: the middle half of its width is seen, both halves equally."""
    pixels = np.zeros((10, 40), dtype=np.uint8)
    pixels[:, 20:] = 200
    cropped = decode(pixels, ImageForm((10, 10), 1, crop=1.0, resample="nearest"))[:, :, 0]
    np.testing.assert_array_equal(cropped, pixels[:, 15:25])
    smaller = decode(pixels, ImageForm((5, 5), 1, crop=0.5, resample="nearest"))[:, :, 0]
    np.testing.assert_array_equal(smaller, pixels[:5, 18:23])
    stretched = decode(pixels, ImageForm((10, 10), 1, resample="nearest"))[:, :, 0]
    np.testing.assert_array_equal(stretched, pixels[:, ::4])


def test_boxes_lie_in_the_middle():
    left, top, right, bottom = ImageForm((10, 20), 1, crop=0.8).box((101, 33))
    assert (left + right, top + bottom) == pytest.approx((101, 33))
    assert (right - left) / (bottom - top) == pytest.approx(2.0)
    assert bottom - top == pytest.approx(0.8 * 33)


def test_arrays_need_no_decoding():
    np.testing.assert_array_equal(decode(COLOUR, ImageForm((5, 7), 3)), COLOUR)
    np.testing.assert_array_equal(decode(COLOUR[:, :, :1], ImageForm((5, 7), 1)), COLOUR[:, :, :1])
    assert read_header(COLOUR) == ((5, 7), False)
    assert read_header(COLOUR[:, :, 0]) == ((5, 7), True)


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (b"", "is empty"),
        (b"words", r"not a readable image \(cannot identify image file\)"),
        (encoded(Image.fromarray(COLOUR))[:70], "not a readable image"),
    ],
)
def test_what_is_broken_says_why(picture, reason):
    with pytest.raises(BrokenImageError, match=reason):
        decode(picture, ImageForm((5, 7), 3))


@pytest.mark.parametrize(
    ("kind", "options"),
    [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("PNG", {"compress_level": 0})],
    ids=str,
)
def test_a_file_cut_short_is_whole_or_broken(tmp_path, kind, options):
    """A truncated file is never decoded to half an image; only bytes after the last pixel may be missing."""
    pixels = np.random.default_rng(5).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    whole, form = encoded(Image.fromarray(pixels), kind, **options), ImageForm((24, 40), 3)
    expected, path, reasons = decode(whole, form), tmp_path / "x.bin", list[str]()
    ends = {*range(0, len(whole), 41), *range(max(0, len(whole) - 20), len(whole))}
    for end in sorted(ends):
        path.write_bytes(whole[:end])
        for picture in (whole[:end], path):
            try:
                np.testing.assert_array_equal(decode(picture, form), expected)
            except BrokenImageError as error:
                reasons.append(str(error))
    assert len(reasons) >= 2 * (len(ends) - 20)
    assert not [reason for reason in reasons if "\n" in reason or str(path) in reason]


@pytest.mark.parametrize(
    "wrong",
    [{"size": (0, 3)}, {"channels": 5}, {"crop": 0.0}, {"crop": 1.5}, {"resample": "fine"}],
)
def test_forms_that_are_none(wrong):
    with pytest.raises(DataError):
        ImageForm(**{"size": (4, 4), "channels": 3, **wrong})
