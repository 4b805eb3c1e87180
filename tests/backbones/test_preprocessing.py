from __future__ import annotations

import json

import numpy as np
import pytest

from crosshead.backbones import Preprocessing
from crosshead.backbones.preprocessing import preprocessing_of, stated_beside
from crosshead.data import DataError


def test_the_arithmetic_in_float64():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 3), dtype=np.uint8)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    found = Preprocessing((3, 4), mean=mean, std=std).apply(pixels)
    expected = (pixels.astype(np.float64) / 255 - mean) / std
    np.testing.assert_allclose(found, expected.transpose(0, 3, 1, 2), rtol=2e-7, atol=1e-7)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous


def test_colours_and_layouts():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 3), dtype=np.uint8)
    raw = {"white": 255.0, "layout": "nhwc"}
    np.testing.assert_array_equal(Preprocessing((3, 4), **raw).apply(pixels), pixels)
    np.testing.assert_array_equal(Preprocessing((3, 4), "bgr", **raw).apply(pixels), pixels[..., ::-1])
    means = Preprocessing((3, 4), "bgr", mean=(1.0, 2.0, 3.0), **raw).apply(pixels)
    np.testing.assert_array_equal(means[..., 0], pixels[..., 2] - 1.0)
    assert Preprocessing((3, 4), "grey").form.channels == 1


def test_it_survives_json():
    made = Preprocessing((3, 4), "grey", 0.875, "bicubic", 255.0, (127.0,), (128.0,), "nhwc")
    assert preprocessing_of(json.loads(json.dumps(made.to_dict())), "x") == made


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({}, "the size of the images is not known; say --size"),
        ({"size": 8, "mean": [1, 2]}, "mean has 2 numbers; give one, or one for each of 3"),
        ({"size": 8, "std": 0}, "must be positive"),
        ({"size": 8, "colours": "cmyk"}, "colours 'cmyk' are unknown"),
        ({"size": 8, "layout": "chwn"}, "layout 'chwn' is unknown"),
        ({"size": 8, "means": 3}, "'means' is not part of pre-processing"),
        ({"size": "big"}, "cannot be read"),
        ({"size": 8, "mean": 3.5e38}, "numbers that float32 does not hold"),
        ({"size": 8, "mean": -1e308, "std": 1e-5}, "numbers that float32 does not hold"),
        ({"size": 8, "white": 1e300, "std": 1e-300}, "numbers that float32 does not hold"),
        ({"size": [4096, 1025]}, "at most 4194304 pixels"),
        ({"size": [8, 8], "crop": 2}, "the crop is 2.0"),
    ],
)
def test_what_cannot_be(stated, message):
    with pytest.raises(DataError, match=f"net: .*{message}"):
        preprocessing_of(stated, "net")


def test_hugging_face_configurations(tmp_path):
    config = {
        "do_resize": True,
        "size": {"shortest_edge": 256},
        "do_center_crop": True,
        "crop_size": {"height": 224, "width": 224},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "resample": 3,
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    stated, where = stated_beside(tmp_path / "model.onnx")
    assert where == str(tmp_path / "preprocessor_config.json")
    made = preprocessing_of(stated, "x")
    assert made == Preprocessing(
        (224, 224), crop=0.875, resample="bicubic", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    )
    vit = {"do_normalize": True, "do_rescale": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 2}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**vit, "size": {"height": 32, "width": 48}}))
    assert preprocessing_of(stated_beside(tmp_path / "model.onnx")[0], "x") == Preprocessing(
        (32, 48), mean=(0.5,) * 3, std=(0.5,) * 3
    )
    (tmp_path / "model.json").write_text(json.dumps({"size": 16, "white": 255}))
    assert preprocessing_of(stated_beside(tmp_path / "model.onnx")[0], "x") == Preprocessing((16, 16), white=255.0)
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(DataError, match=r"model\.json: not JSON"):
        stated_beside(tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("model.json", '{"means": 1}', "'means' is not part of pre-processing"),
        ("model.json", '{"mean": "0.5"}', "'0.5' is text, not a number"),
        ("model.json", '{"mean": [0.5, 0.5]}', "mean has 2 numbers"),
        ("model.json", '{"std": NaN}', "std holds a number that is not finite"),
        ("preprocessor_config.json", '{"size": 8, "rescale_factor": "x"}', "cannot be read .could not convert"),
        ("preprocessor_config.json", '{"size": 8, "resample": [1]}', "cannot be read .unhashable"),
        ("preprocessor_config.json", '{"do_center_crop": true, "crop_size": 8, "size": 0}', "cannot be read .*zero"),
    ],
)
def test_files_that_cannot_be_meant_are_named(tmp_path, file, text, message):
    (tmp_path / file).write_text(text)
    with pytest.raises(DataError, match=f"{file}: .*{message}"):
        stated_beside(tmp_path / "model.onnx")


def test_what_a_file_leaves_open(tmp_path):
    """Null is nothing said, and four means are those of a network with opacity, whose colours its input tells."""
    (tmp_path / "model.json").write_text('{"mean": [0.1, 0.2, 0.3, 0.4], "std": null}')
    assert stated_beside(tmp_path / "model.onnx")[0] == {"mean": [0.1, 0.2, 0.3, 0.4]}
