"""Folders of images that Pillow wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crosshead.data import DataError, load

GREY = np.random.default_rng(2).integers(0, 256, (2, 3, 5), dtype=np.uint8)
COLOUR = np.random.default_rng(3).integers(0, 256, (3, 5, 3), dtype=np.uint8)


def save(array: np.ndarray, path: Path, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(GREY[0], tmp_path / "cat" / "b.png")
    save(GREY[1], tmp_path / "cat" / "deep" / "a.png")
    save(GREY[0], tmp_path / "ant" / "c.PNG")
    (tmp_path / "cat" / "notes.txt").write_text("x")
    (tmp_path / "README.md").write_text("x")
    (tmp_path / ".hidden").mkdir()
    return tmp_path


def test_grey_images(folder: Path) -> None:
    data = load(folder)
    assert data.row_names == ["ant/c.PNG", "cat/b.png", "cat/deep/a.png"]
    assert data.target.tolist() == ["ant", "cat", "cat"]
    np.testing.assert_array_equal(data.features, GREY[[0, 0, 1]].reshape(3, 15))
    assert data.features.dtype == np.float32
    assert data.encoding["shape"] == [3, 5]
    assert data.encoding["mode"] == "L"
    assert data.notes == (f"{folder}: 2 file(s) that are not images of a class were passed over",)


def test_one_image_in_colour_makes_all_rgb(folder: Path) -> None:
    save(COLOUR, folder / "ant" / "d.png")
    data = load(folder)
    assert data.encoding["shape"] == [3, 5, 3]
    np.testing.assert_array_equal(data.features[1].reshape(3, 5, 3), COLOUR)
    np.testing.assert_array_equal(data.features[0].reshape(3, 5, 3), np.repeat(GREY[0][..., None], 3, axis=2))


def test_jpeg_pixels_are_pillows(tmp_path: Path) -> None:
    save(COLOUR, tmp_path / "a" / "x.jpeg", quality=60)
    with Image.open(tmp_path / "a" / "x.jpeg") as image:
        expected = np.asarray(image, dtype=np.float32).ravel()
    np.testing.assert_array_equal(load(tmp_path).features[0], expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    upright = GREY[0]
    # What a camera stores, so that the viewer's turn (the table of the EXIF standard) makes it upright.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(np.ascontiguousarray(stored), tmp_path / "a" / "x.png", exif=exif)
    data = load(tmp_path)
    assert data.encoding["size"] == [3, 5]
    np.testing.assert_array_equal(data.features[0].reshape(3, 5), upright)


def test_sixteen_bits_and_palettes(tmp_path: Path) -> None:
    save(GREY[0].astype(np.uint16) * 257, tmp_path / "a" / "deep.png")
    np.testing.assert_array_equal(load(tmp_path).features[0], GREY[0].ravel())
    palette = Image.fromarray(COLOUR).quantize(15)
    palette.save(tmp_path / "a" / "palette.png", transparency=b"\x00\x80")
    assert load(tmp_path).encoding["mode"] == "RGB"


def test_sizes(folder: Path) -> None:
    save(np.full((9, 9), 77, dtype=np.uint8), folder / "ant" / "z.png")
    with pytest.raises(DataError, match=r"c\.PNG has 3×5, .*z\.png has 9×9 \(height×width\); say --size"):
        load(folder)
    data = load(folder, size=(2, 4))
    assert data.encoding["size"] == [2, 4]
    assert data.features.shape == (4, 8)
    assert set(data.features[1]) == {77.0}
    assert load(folder, size=6).encoding["shape"] == [6, 6]
    with pytest.raises(DataError, match=r"--size is 0×4"):
        load(folder, size=(0, 4))


def test_later_images_get_the_form_of_training(folder: Path, tmp_path: Path) -> None:
    encoding = load(folder).encoding
    later = tmp_path / "later"
    save(np.repeat(np.repeat(GREY[0], 2, axis=0), 2, axis=1), later / "one.png")
    save(COLOUR, later / "two.png")
    data = load(later, encoding=encoding)
    assert data.features.shape == (2, 15)
    assert data.target is None
    assert data.row_names == ["one.png", "two.png"]
    single = load(later / "two.png", encoding=encoding)
    np.testing.assert_array_equal(single.features[0], data.features[1])
    with pytest.raises(DataError, match=r"--size is 4×4, but training had 3×5"):
        load(later, encoding=encoding, size=4)
    with pytest.raises(DataError, match="not trained on images"):
        load(later, encoding={"kind": "table", "n_features": 15})
    as_array = load(later, encoding={"kind": "array", "shape": [3, 5], "n_features": 15})
    np.testing.assert_array_equal(as_array.features, data.features)


def test_train_and_test_folders(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in ("a", "b"):
            save(GREY[0], tmp_path / part / name / "x.png")
    data = load(tmp_path)
    assert data.target.tolist() == ["a", "b"]
    assert data.test is not None
    assert data.test.row_names == ["a/x.png", "b/x.png"]


def test_refusals(folder: Path, tmp_path: Path) -> None:
    (folder / "dog").mkdir()
    with pytest.raises(DataError, match=r"dog: the class folder holds no images"):
        load(folder)
    (folder / "dog" / "x.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"dog/x\.png: the image file is empty"):
        load(folder)
    (folder / "dog" / "x.png").write_bytes((folder / "cat" / "b.png").read_bytes()[:60])
    with pytest.raises(DataError, match=r"dog/x\.png: not a readable image"):
        load(folder)
    (folder / "dog" / "x.png").write_bytes(b"this is text")
    with pytest.raises(DataError, match=r"dog/x\.png: not a readable image"):
        load(folder)
    with pytest.raises(DataError, match=r"cat/deep: images without classes"):
        load(folder / "cat" / "deep")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match=r"empty: no images found"):
        load(empty)
    empty.rmdir()
    Image.fromarray(np.ones((3, 5), dtype=np.float32)).save(folder / "dog" / "x.tiff")
    (folder / "dog" / "x.png").unlink()
    with pytest.raises(DataError, match=r"dog/x\.tiff: pixels are floating-point"):
        load(folder)
