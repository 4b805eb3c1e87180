from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import expit, softmax

from crosshead.data import load
from crosshead.models import Model
from crosshead.scaling import Scaler

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def run(file, inputs):
    session = onnxruntime.InferenceSession(file)
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(None, {session.get_inputs()[0].name: inputs}), strict=True))


def sigmoids(scores):
    return expit(scores) / expit(scores).sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("loss", "scale", "probabilities"),
    [
        ("softmax", "standard", lambda scores: softmax(scores, axis=1)),
        ("softmax", "none", lambda scores: softmax(scores, axis=1)),
        ("binary", "maxabs", sigmoids),
        ("hinge", "standard", None),
        ("squared_error", "standard", None),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_heads(crosshead, loss, scale, probabilities, dtype):
    crosshead("fit", "iris", "--loss", loss, "--scale", scale, "--output", "m")
    done = crosshead("export", "m", "m.onnx", "--dtype", dtype, "--check", "iris", "--json")
    assert (done.code, done.err) == (0, "")
    document = json.loads(done.out)
    assert document["random"]["n_inputs"] == 64
    assert document["real"]["n_inputs"] == 150
    model, features = Model.load("m"), load("iris").features
    scaled = Scaler.apply(model.scaling, features)
    scores = scaled @ model.weight.T + model.bias
    found = run("m.onnx", features.astype(dtype))
    tolerance = 1e-4 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(found["scores"], scores, rtol=tolerance, atol=tolerance)
    assert found["predicted"].tolist() == scores.argmax(axis=1).tolist()
    assert ("probabilities" in found) is (probabilities is not None)
    if probabilities is not None:
        np.testing.assert_allclose(found["probabilities"], probabilities(scores), atol=tolerance)
    proto = onnx.load("m.onnx")
    onnx.checker.check_model(proto, full_check=True)
    said = {one.key: json.loads(one.value) for one in proto.metadata_props}
    assert said["classes"] == ["setosa", "versicolor", "virginica"]
    assert said["feature_names"] == model.feature_names
    assert run("m.onnx", features[:1].astype(dtype))["predicted"].shape == (1,)


def test_a_temperature_and_scores_that_overflow(crosshead):
    weight = np.array([[1e4, 0.0], [0.0, 1e4], [-1e4, -1e4]])
    for loss, temperature in (("binary", None), ("hinge", 2.5)):
        Model(weight, np.zeros(3), np.arange(3), loss, temperature=temperature).save("m")
        assert crosshead("export", "m", "m.onnx").code == 0
        found = run("m.onnx", np.array([[-1.0, -1.5], [0.0, 0.0]], dtype=np.float32))["probabilities"]
        np.testing.assert_allclose(found, [[0, 0, 1], [1 / 3, 1 / 3, 1 / 3]], atol=1e-6)


def test_pixels_keep_their_shape(crosshead):
    crosshead("fit", "digits", "--scale", "maxabs", "--output", "m")
    done = crosshead("export", "m", "m.onnx", "--opset", "18")
    assert "images n×8×8" in done.out
    assert "opset                 18" in done.out
    images = load("digits").features.reshape(-1, 8, 8).astype(np.float32)
    lines = crosshead("predict", "m", "digits").out.splitlines()[1:]
    assert run("m.onnx", images)["predicted"].tolist() == [int(line.split(",")[1]) for line in lines]


@pytest.mark.parametrize("shape", [{"nhwc": True}, {"batch": 4}, {"opset": 11}, {"channels": 1}])
def test_backbones_of_other_shapes(crosshead, photos, make_network, shape, monkeypatch, tmp_path):
    monkeypatch.setenv("CROSSHEAD_CACHE", str(tmp_path / "cache"))
    network = make_network(**shape)
    for name in (f"{network.path}", f"{network.path}:maps"):
        crosshead("fit", photos, "--backbone", name, "--white", "1", "--output", "m")
        done = crosshead("export", "m", "m.onnx", "--check", photos, "--json")
        assert done.code == 0, done.err
        document = json.loads(done.out)
        assert document["random"]["different"] == document["random"]["ties"]
        assert document["real"]["n_inputs"] == 30
        assert document["real"]["probabilities"] < 1e-5
    head = crosshead("export", "m", "head.onnx", "--head-only", "--json")
    assert json.loads(head.out)["input"] == {"features": ["n", 6]}


def test_a_pytorch_backbone(crosshead, photos, monkeypatch, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    monkeypatch.setenv("CROSSHEAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_small_network.py").write_text(
        "import torch\ntorch.manual_seed(0)\n"
        "made = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3), torch.nn.BatchNorm2d(5), torch.nn.ReLU())\n"
    )
    spec = "torch:my_small_network:made"
    assert crosshead("fit", photos, "--backbone", spec, "--size", "8x9", "--white", "1", "--output", "m").code == 0
    assert crosshead("export", "m", "m.onnx").code == 2
    done = crosshead("export", "m", "m.onnx", "--backbone", spec, "--check", photos)
    assert (done.code, done.err) == (0, "")
    assert "images n×3×9×8" in done.out


def test_a_graph_that_predicts_otherwise_is_not_written(crosshead, monkeypatch, tmp_path):
    crosshead("fit", "iris", "--scale", "standard", "--output", "m")
    monkeypatch.setattr("crosshead.export.check.TOLERANCE", {"float32": 0.0, "float64": 0.0})
    done = crosshead("export", "m", "m.onnx")
    assert done.code == 1
    assert "m.onnx: not written: onnxruntime predicts otherwise" in done.line
    assert "--dtype float64" in done.line
    assert not [path for path in tmp_path.iterdir() if "onnx" in path.name]


def test_mistakes(crosshead, tmp_path):
    crosshead("fit", "iris", "--output", "m")
    for arguments, message in (
        (["m", "m.pb"], "name a file that ends in .onnx"),
        (["m", "m.onnx", "--head-only"], "--head-only: the model was trained without a backbone"),
        (["m", "m.onnx", "--backbone", "n.onnx"], "--backbone: the model was trained without a backbone"),
        (["m", "m.onnx", "--check", "digits"], "64 features per row"),
        (["none", "m.onnx"], "none: no such model folder"),
    ):
        done = crosshead("export", *arguments)
        assert done.code == 2
        assert message in done.line
