"""From images to features, a model, its predictions and its ONNX file, on the command line."""

from __future__ import annotations

import csv
import io
import json
import shutil

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from crosshead.data import ImageForm, load, open_images
from crosshead.models import Model

MEANS = ("--mean", "0.5", "--std", "0.25")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSHEAD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def network(make_network):
    return make_network()


def input_of(source, size=(8, 8)):
    """The network's input, from Pillow's pixels, in float64."""
    pixels = next(open_images(source).batches(ImageForm(size, 3), batch_size=1000)).pixels
    return (pixels.transpose(0, 3, 1, 2).astype(np.float64) / 255 - 0.5) / 0.25


def rows_of(text):
    return list(csv.reader(io.StringIO(text)))


def test_embed_then_fit_is_fit_with_a_backbone(crosshead, photos, network, cache, tmp_path):
    done = crosshead("embed", photos, "--backbone", network.path, *MEANS, "--output", "f.parquet", "--json")
    assert (done.code, done.err) == (0, "")
    document = json.loads(done.out)
    assert (document["images"], document["written"], document["skipped"], document["features"]) == (30, 30, [], 6)
    assert crosshead("fit", "f.parquet", "--scale", "standard", "--output", "m").code == 0
    direct = crosshead("fit", photos, "--backbone", network.path, *MEANS, "--scale", "standard", "--output", "n")
    assert direct.code == 0
    assert "backbone       net.onnx, output f" in direct.out
    assert f"features of {photos} kept in {cache}" in direct.err
    assert network.path.name in (tmp_path / "n" / "README.md").read_text()
    one, other = Model.load("m"), Model.load("n")
    np.testing.assert_array_equal(one.weight, other.weight)
    assert one.encoding == other.encoding
    again = crosshead("fit", photos, "--backbone", network.path, *MEANS, "--output", "n")
    assert f"features of {photos} taken from {cache}" in again.err


def test_the_whole_way(crosshead, photos, network):
    """Embed, fit, evaluate, predict, export: every step against the features that SciPy computes."""
    onnxruntime = pytest.importorskip("onnxruntime")
    crosshead("embed", photos, "--backbone", network.path, *MEANS, "--output", "f.npz")
    features = network.features(input_of(photos))
    np.testing.assert_allclose(load("f.npz").features, features, rtol=1e-5, atol=1e-5)
    crosshead("fit", "f.npz", "--scale", "standard", "--output", "m")
    model = Model.load("m")
    scaled = (features - model.scaling.centre) / model.scaling.scale
    scores = scaled @ model.weight.T + model.bias
    expected = model.classes[scores.argmax(axis=1)]
    wrong = int((expected != open_images(photos).labels).sum())
    assert json.loads(crosshead("evaluate", "m", photos, "--json").out)["errors"] == wrong
    predicted = rows_of(crosshead("predict", "m", photos).out)
    assert predicted == [["file", "predicted"], *map(list, zip(open_images(photos).names, expected, strict=True))]
    done = crosshead("export", "m", "m.onnx", "--check", photos)
    assert (done.code, done.err) == (0, "")
    assert "images n×3×8×8" in done.out
    assert "same classes" in done.out
    session = onnxruntime.InferenceSession("m.onnx")
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == ["dark", "light"]
    found, proba, index = session.run(None, {"images": input_of(photos).astype(np.float32)})
    np.testing.assert_allclose(found, scores, atol=1e-3)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0, atol=1e-5)
    assert model.classes[index].tolist() == expected.tolist()


def test_predict_photos_and_folders(crosshead, photos, network, tmp_path):
    crosshead("fit", photos, "--backbone", network.path, *MEANS, "--scale", "standard", "--output", "m")
    Image.new("RGB", (20, 10), (60, 60, 60)).save(tmp_path / "photo.jpg")
    done = crosshead("predict", "m", "photo.jpg", photos / "light", "--top", "5")
    assert (done.code, done.err) == (0, "")
    header, *rows = rows_of(done.out)
    assert header == ["file", "predicted", "top_1", "top_1_proba", "top_2", "top_2_proba"]
    assert [row[0] for row in rows] == ["photo.jpg", *(f"{photos}/light/{number:02}.png" for number in range(15))]
    assert all(row[1] == row[2] != row[4] for row in rows)
    assert all(float(row[3]) + float(row[5]) == pytest.approx(1.0) for row in rows)
    document = json.loads(crosshead("predict", "m", "photo.jpg", "--top", "1", "--json", "--proba").out)
    entry = document["predictions"][0]
    assert entry["top"] == [{"class": rows[0][2], "probability": pytest.approx(float(rows[0][3]), rel=1e-4)}]
    assert len(entry["probabilities"]) == 2
    assert document["rows"] == 1


@pytest.mark.parametrize("words", [("check", "--size", "8"), ("path", "--size", "8", "--alphas", "3", "--cv", "0")])
def test_broken_images_in_checks_and_paths(crosshead, photos, tmp_path, words):
    shutil.copytree(photos, tmp_path / "copies")
    (tmp_path / "copies" / "dark" / "broken.png").write_bytes(b"no image")
    refused = crosshead(words[0], "copies", *words[1:])
    assert refused.code == 2
    assert "--skip-broken" in refused.err.splitlines()[-1]
    done = crosshead(words[0], "copies", *words[1:], "--skip-broken", "--json")
    assert "1 image could not be read and was left out" in done.err
    json.loads(done.out)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
def test_broken_images_in_predictions(crosshead, photos, odd_images, network, tmp_path, suffix):
    crosshead("fit", photos, "--backbone", network.path, *MEANS, "--output", "m")
    refused = crosshead("predict", "m", odd_images, "--output", f"o{suffix}")
    assert refused.code == 2
    assert "2 images cannot be read" in refused.err.splitlines()[-1]
    options = ["--top", "2", "--proba", "--skip-broken", "--batch-size", "2", "--output", f"o{suffix}"]
    done = crosshead("predict", "m", odd_images, *options, "--json")
    assert done.code == 0
    document = json.loads(done.out)
    assert (document["rows"], len(document["skipped"])) == (5, 2)
    if suffix == ".npz":
        with np.load("o.npz", allow_pickle=False) as archive:
            assert archive["proba"].shape == archive["top"].shape == archive["top_proba"].shape == (5, 2)
            np.testing.assert_allclose(archive["proba"].max(axis=1), archive["top_proba"][:, 0])
    elif suffix == ".parquet":
        assert pyarrow.parquet.read_table("o.parquet").column("top_1").to_pylist()
    else:
        assert len(rows_of((tmp_path / "o.csv").read_text())) == 6
    streamed = json.loads(crosshead("predict", "m", odd_images, "--skip-broken", "--json").out)
    assert (streamed["rows"], len(streamed["skipped"]), len(streamed["predictions"])) == (5, 2, 5)


def test_predictions_of_all_images_below_a_folder(crosshead, photos):
    """No class is asked for, so that an empty folder or images beside folders are nothing special."""
    crosshead("fit", photos, "--scale", "maxabs", "--output", "m")
    (photos / "light" / "14.png").rename(photos / "loose.png")
    (photos / "empty").mkdir()
    done = crosshead("predict", "m", photos)
    assert (done.code, done.err) == (0, "")
    assert rows_of(done.out)[-1] == ["loose.png", "light"]
    assert len(rows_of(done.out)) == 31


def test_top_of_rows_and_of_models_without_probabilities(crosshead):
    crosshead("fit", "iris", "--loss", "hinge", "--scale", "standard", "--output", "m")
    header, first, *_ = rows_of(crosshead("predict", "m", "iris", "--top", "2").out)
    assert header == ["row", "predicted", "top_1", "top_1_score", "top_2", "top_2_score"]
    assert float(first[3]) > float(first[5])
    refused = crosshead("predict", "m", "iris", "digits")
    assert "only a model of images predicts several sources" in refused.line
    assert "--skip-broken is for images" in crosshead("predict", "m", "iris", "--skip-broken").line


def test_models_of_pixels_take_images_as_they_come(crosshead, photos, tmp_path):
    crosshead("fit", photos, "--scale", "maxabs", "--output", "m")
    done = crosshead("predict", "m", photos, photos / "dark" / "03.png", "--batch-size", "4")
    rows = rows_of(done.out)[1:]
    assert len(rows) == 31
    assert rows[-1] == [f"{photos}/dark/03.png", "dark"]
    assert "trained on pixels, without a backbone" in crosshead("predict", "m", photos, "--backbone", "x.onnx").line


def test_a_backbone_that_moved(crosshead, photos, network, tmp_path):
    crosshead("fit", photos, "--backbone", network.path, *MEANS, "--output", "m")
    moved = network.path.rename(tmp_path / "moved.onnx")
    refused = crosshead("evaluate", "m", photos)
    assert refused.code == 2
    assert "net.onnx: the model's backbone is not there, a file with SHA-256 " in refused.line
    assert "put it into the working folder, or say where it is with --backbone FILE" in refused.line
    assert crosshead("evaluate", "m", photos, "--backbone", moved).code == 0
    assert crosshead("predict", "m", photos, "--backbone", moved).code == 0
    assert crosshead("predict", "m", photos).code == 0  # where it was named last is remembered
    assert crosshead("export", "m", "m.onnx").code == 0
    assert str(tmp_path) not in (tmp_path / "m" / "model.json").read_text()


def test_test_images_and_other_sources(crosshead, photos, network, tmp_path):
    (tmp_path / "both").mkdir()
    (photos / "dark").rename(tmp_path / "both" / "dark")
    (photos / "light").rename(tmp_path / "both" / "light")
    (tmp_path / "split").mkdir()
    (tmp_path / "both").rename(tmp_path / "split" / "train")
    for name in ("dark", "light"):
        (tmp_path / "split" / "test" / name).mkdir(parents=True)
        (tmp_path / "split" / "train" / name / "00.png").rename(tmp_path / "split" / "test" / name / "00.png")
    options = ["--backbone", network.path, *MEANS, "--json", "--output"]
    whole = json.loads(crosshead("fit", "split", *options, "m").out)
    assert (whole["train"]["rows"], whole["test"]["rows"]) == (28, 2)
    assert whole["backbone"]["name"] == network.path.name
    parts = json.loads(crosshead("fit", "split/train", "--test", "split/test", *options, "n").out)
    assert parts["test"] == whole["test"]
    embedded = crosshead("embed", "split", "--backbone", network.path, *MEANS, "--output", "f.npz")
    assert "30 of 30" in embedded.out
    assert json.loads(crosshead("fit", "f.npz", "--json", "--output", "o").out)["test"] == whole["test"]
    assert len(rows_of(crosshead("predict", "m", "split", "--test-rows").out)) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["fit", "digits", "--mean", "0.5"],
            "--mean says how a network takes images; name the network with --backbone",
        ),
        (["fit", "digits", "--cache", "c"], "--cache says how a network takes images"),
        (["fit", "iris", "--backbone", "net.onnx"], "iris: holds no images"),
        (["fit", "digits", "--backbone", "net.onnx", "--colours", "grey"], "takes images of channels 3"),
        (["fit", "iris", "--skip-broken"], "--skip-broken is for images"),
        (["embed", "digits", "--output", "o.npz"], "--backbone is missing"),
        (["embed", "digits", "--backbone", "net.onnx", "--output", "o.csv"], "ends in .npz, .parquet"),
        (
            ["embed", "digits", "--backbone", "net.onnx", "--output", "o.npz", "--crop", "0"],
            "--crop 0: it must be above",
        ),
        (["embed", "digits", "--backbone", "net.onnx", "--output", "o.npz", "--std", "1,2"], "std has 2 numbers"),
        (["embed", "digits", "--backbone", "net.pt", "--output", "o.npz"], "give FILE.onnx[:output]"),
    ],
)
def test_mistakes(crosshead, network, arguments, message):
    done = crosshead(*arguments)
    assert done.code == 2
    assert message in done.line


def test_pixels_that_nothing_is_said_of(crosshead, photos, network):
    done = crosshead("embed", photos, "--backbone", network.path, "--output", "o.npz")
    assert "nothing says how" in done.err
    assert "scaled to 0…1" in done.err


def test_ctrl_c_keeps_what_is_done(crosshead, photos, network, monkeypatch):
    calls = []

    def stop(self, done, total):
        calls.append(done)
        if done >= 8 and len(calls) < 4:
            raise KeyboardInterrupt

    monkeypatch.setattr("crosshead.cli.backbones.Rate.__call__", stop)
    command = ["embed", photos, "--backbone", network.path, *MEANS, "--batch-size", "4", "--output", "f.npz"]
    done = crosshead(*command)
    assert done.code == 1
    assert "interrupted; the features made so far are kept" in done.line
    again = crosshead(*command)
    assert again.code == 0
    assert "30 of 30, 8 of them by an earlier run" in again.out


COMMANDS = (
    ("evaluate", "m", "photos"),
    ("predict", "m", "photos"),
    ("top-losses", "m", "photos"),
    ("report", "m", "photos", "--all-rows"),
    ("explain", "m", "photos", "--row", "dark/00.png"),
    ("compare", "m", "n", "photos"),
    ("calibrate", "m", "photos"),
)


def test_every_command_takes_images_as_the_model_did(crosshead, photos, network, cache, tmp_path):
    """A moved network and a broken image must not shut a model out of any command, nor features be made twice."""
    (photos / "light" / "99.png").write_bytes(b"")
    (photos / "light" / "98.png").write_bytes(b"text")
    made = ("--backbone", network.path, *MEANS, "--skip-broken", "--batch-size", "7", "--test", "0.3")
    for name in ("m", "n"):
        assert crosshead("fit", photos, *made, "--output", name).code == 0
    moved = network.path.rename(tmp_path / "moved.onnx")
    for words in COMMANDS:
        refused = crosshead(*words, "--skip-broken")
        assert refused.code == 2
        assert "say where it is with --backbone FILE" in refused.err
    for words in COMMANDS:
        refused = crosshead(*words, "--backbone", moved)
        assert refused.code == 2
        assert "2 images cannot be read" in refused.err
        done = crosshead(*words, "--backbone", moved, "--skip-broken", "--workers", "0")
        # These classes are so far apart that there is no optimal temperature, which calibrate reports on its features.
        assert (done.code == 0) != ("there is no optimal temperature" in done.err), done.err
        if words[0] != "predict":
            assert f"features of {photos.name} taken from {cache}" in done.err
    assert len(list(cache.glob("*.npz"))) == 1
    known = json.loads(crosshead("evaluate", "m", photos, "--backbone", moved, "--skip-broken", "--json").out)
    assert known["training_rows"] > 0
    crosshead("evaluate", "m", photos, "--backbone", moved, "--skip-broken", "--batch-size", "5", "--cache", "own")
    assert len(list((tmp_path / "own").glob("*.npz"))) == 1


def test_options_about_images_that_would_change_nothing(crosshead, photos, network, tmp_path):
    crosshead("fit", photos, "--scale", "maxabs", "--output", "m")
    assert (
        "--batch-size: it is for a model with a backbone" in crosshead("evaluate", "m", photos, "--batch-size", 3).line
    )
    assert "--cache: it is for a model with a backbone" in crosshead("top-losses", "m", photos, "--cache", "c").line
    (tmp_path / "p.csv").write_text("a,b,target\n0.2,0.8,b\n0.6,0.4,a\n")
    (tmp_path / "q.csv").write_text("a,b,target\n0.3,0.7,b\n0.6,0.4,a\n")
    for words in (("report", "p.csv"), ("evaluate", "p.csv"), ("compare", "p.csv", "q.csv")):
        assert "--backbone" in crosshead(*words, "--target", "target", "--backbone", "net.onnx").line
    assert "--workers does not go with --scores" in crosshead("explain", "--scores", "1,2", "--workers", 1).line
