from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from crosshead.backbones import backbone_again, load_backbone
from crosshead.data import DataError

PIXELS = np.random.default_rng(5).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
SCALED = (PIXELS.transpose(0, 3, 1, 2).astype(np.float64) / 255 - 0.5) / 0.25
STATED = {"mean": 0.5, "std": 0.25}


def test_features_are_the_networks(make_network):
    network = make_network()
    backbone = load_backbone(str(network.path), STATED)
    assert backbone.n_features == 6
    assert backbone.preprocessing.size == (8, 8)
    np.testing.assert_allclose(backbone.embed(PIXELS), network.features(SCALED), rtol=1e-5, atol=1e-5)
    assert backbone.embed(PIXELS[:0]).shape == (0, 6)


def test_a_tensor_inside_the_network(make_network):
    """Maps (n, D, h, w) are averaged, which here is what the network does too."""
    network = make_network()
    inside = load_backbone(f"{network.path}:maps", STATED)
    np.testing.assert_allclose(inside.embed(PIXELS), network.features(SCALED), rtol=1e-5, atol=1e-5)
    assert inside.description["output"] == "maps"
    with pytest.raises(DataError, match=r"net\.onnx: no output or tensor 'none'; the last ones are .*'f'"):
        load_backbone(f"{network.path}:none", STATED)


@pytest.mark.parametrize("batch", [1, 2, 4, 8])
def test_a_batch_of_fixed_size_is_filled_up(make_network, batch):
    free, fixed = make_network("free.onnx"), make_network("fixed.onnx", batch=batch)
    expected = load_backbone(str(free.path), STATED).embed(PIXELS)
    np.testing.assert_allclose(load_backbone(str(fixed.path), STATED).embed(PIXELS), expected, rtol=1e-6, atol=1e-6)


def test_channels_last(make_network):
    network = make_network(nhwc=True)
    backbone = load_backbone(str(network.path), STATED)
    assert backbone.preprocessing.layout == "nhwc"
    np.testing.assert_allclose(backbone.embed(PIXELS), network.features(SCALED), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["UINT8", "FLOAT16", "DOUBLE"])
def test_inputs_of_other_types(make_network, name):
    """Networks of whole numbers get the pixels as they are, and nothing else can be done to them."""
    onnx = pytest.importorskip("onnx")
    network = make_network()
    model = onnx.load(network.path)
    model.graph.node.insert(0, onnx.helper.make_node("Cast", ["raw"], ["images"], to=onnx.TensorProto.FLOAT))
    kind = getattr(onnx.TensorProto, name)
    model.graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info("raw", kind, ["n", 3, 8, 8]))
    onnx.save(model, network.path)
    stated = {} if name == "UINT8" else {"white": 255}
    found = load_backbone(str(network.path), stated).embed(PIXELS)
    np.testing.assert_allclose(found, network.features(PIXELS.transpose(0, 3, 1, 2)), rtol=1e-5)
    if name == "UINT8":
        with pytest.raises(DataError, match="takes whole numbers 0…255, so white, mean and std cannot be applied"):
            load_backbone(str(network.path), {"mean": 127})


def test_an_input_that_says_little_or_too_much(make_network):
    free = load_backbone(str(make_network("free.onnx", side="side").path), {**STATED, "size": 8})
    assert (free.preprocessing.layout, free.preprocessing.colours) == ("nchw", "rgb")
    unclear = make_network("unclear.onnx", side=4, channels=4)
    with pytest.raises(DataError, match="does not say where the channels are; say --layout"):
        load_backbone(str(unclear.path), STATED)
    assert load_backbone(str(unclear.path), {**STATED, "layout": "nchw"}).preprocessing.colours == "rgba"


def test_grey_images_by_the_networks_input(make_network):
    backbone = load_backbone(str(make_network(channels=1).path), STATED)
    assert backbone.preprocessing.colours == "grey"
    assert backbone.embed(PIXELS[..., :1]).shape == (5, 6)


def test_flags_come_before_the_file_beside_the_network(make_network):
    network = make_network(side="side")
    network.path.with_suffix(".json").write_text(json.dumps({"size": [8, 8], "mean": 0.5, "std": 1.0}))
    backbone = load_backbone(str(network.path), {"std": 0.25, "mean": None})
    assert (backbone.preprocessing.mean, backbone.preprocessing.std) == ((0.5,), (0.25,))
    assert backbone.stated_in == str(network.path.with_suffix(".json"))
    assert not backbone.assumed
    np.testing.assert_allclose(backbone.embed(PIXELS), network.features(SCALED), rtol=1e-5, atol=1e-5)


def test_shapes_that_contradict_each_other(make_network):
    network = make_network()
    with pytest.raises(DataError, match="takes images of height 8, the pre-processing makes 9"):
        load_backbone(str(network.path), {"size": (9, 8)})
    with pytest.raises(DataError, match="takes images of channels 3, the pre-processing makes 1"):
        load_backbone(str(network.path), {"colours": "grey"})
    with pytest.raises(DataError, match="the size of the images is not known; say --size"):
        load_backbone(str(make_network("any.onnx", side="side").path))


def test_files_that_are_no_network(tmp_path, make_network):
    with pytest.raises(DataError, match=r"none\.onnx: no such file"):
        load_backbone(str(tmp_path / "none.onnx"))
    (tmp_path / "text.onnx").write_text("words")
    with pytest.raises(DataError, match=r"text\.onnx: not a network that onnxruntime can run"):
        load_backbone(str(tmp_path / "text.onnx"))
    with pytest.raises(DataError, match=r"give FILE\.onnx\[:output\] or torch:module:callable"):
        load_backbone("weights.pt")


def test_without_onnxruntime_the_extra_is_named(make_network, monkeypatch):
    network = make_network()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DataError, match=r'needs "crosshead\[onnx\]": pip install "crosshead\[onnx\]"'):
        load_backbone(str(network.path))


def test_several_outputs_need_a_name(make_network):
    onnx = pytest.importorskip("onnx")
    network = make_network()
    model = onnx.load(network.path)
    model.graph.output.append(onnx.helper.make_tensor_value_info("pooled", onnx.TensorProto.FLOAT, ["n", 6, 1, 1]))
    onnx.save(model, network.path)
    with pytest.raises(DataError, match=r"has the outputs f, pooled; say which, as in net\.onnx:f"):
        load_backbone(str(network.path))
    assert load_backbone(f"{network.path}:pooled", STATED).n_features == 6


def test_a_network_whose_images_see_each_other_is_refused(make_network):
    """Batch statistics, as a network has them that was exported in training mode."""
    onnx = pytest.importorskip("onnx")
    network = make_network()
    model = onnx.load(network.path)
    model.graph.node.append(onnx.helper.make_node("ReduceMean", ["f"], ["mean"], axes=[0], keepdims=1))
    model.graph.node.append(onnx.helper.make_node("Sub", ["f", "mean"], ["centred"]))
    onnx.save(model, network.path)
    with pytest.raises(DataError, match="depend on the other images in its batch"):
        load_backbone(f"{network.path}:centred", STATED)


def test_again_from_what_a_model_remembers(make_network, tmp_path, monkeypatch):
    network = make_network()
    known = load_backbone(f"{network.path}:maps", STATED).description
    assert backbone_again(json.loads(json.dumps(known))).description == known
    moved = network.path.rename(tmp_path / "moved.onnx")
    with pytest.raises(DataError, match=r"backbone is not there; put it into the working folder, or say where it is"):
        backbone_again(known)
    again = backbone_again(known, str(moved))
    assert (again.description["output"], again.description["fingerprint"]) == ("maps", known["fingerprint"])
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "net.onnx").write_bytes(moved.read_bytes())
    monkeypatch.chdir(tmp_path / "here")
    assert backbone_again(known).description["path"] == str(tmp_path / "here" / "net.onnx")
    make_network(seed=1)
    with pytest.raises(DataError, match="not the backbone that the model was trained with"):
        backbone_again(known)
