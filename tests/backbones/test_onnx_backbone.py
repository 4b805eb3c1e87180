from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from crosshead.backbones import find_backbone, load_backbone
from crosshead.backbones.locations import remember
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
    with pytest.raises(DataError, match=r"text\.onnx: not a network in ONNX; is the file damaged"):
        load_backbone(str(tmp_path / "text.onnx"))
    with pytest.raises(DataError, match=r"give FILE\.onnx\[:output\] or torch:module:callable"):
        load_backbone("weights.pt")


def test_outputs_without_a_name_or_with_one_that_is_no_utf8(make_network, capfd):
    """onnxruntime decodes names only when asked for them, and says on stdout what it tries next."""
    onnx = pytest.importorskip("onnx")
    network = make_network()
    model = onnx.load(network.path)
    model.graph.node[-1].output[0] = model.graph.output[0].name = "features"
    content = model.SerializeToString().replace(b"features", b"fe\xe5\xffures")
    del model.graph.output[:]
    network.path.write_bytes(model.SerializeToString())
    with pytest.raises(DataError, match=r"net\.onnx: .*(no outputs|onnxruntime can run)"):
        load_backbone(str(network.path))
    network.path.write_bytes(content)
    with pytest.raises(DataError, match=r"net\.onnx: .* is it damaged"):
        load_backbone(str(network.path))
    assert capfd.readouterr() == ("", "")


def test_without_onnxruntime_the_extra_is_named(make_network, monkeypatch):
    network = make_network()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DataError, match=r"needs onnx\w*, which is not installed: pip install 'crosshead\[onnx\]'"):
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


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty working folder, and a cache that knows no network."""
    monkeypatch.setenv("CROSSHEAD_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def test_again_from_what_a_model_says(make_network, tmp_path, place):
    network = make_network()
    backbone = load_backbone(f"{network.path}:maps", STATED)
    known = json.loads(json.dumps(backbone.description))
    assert known["name"] == "net.onnx"
    assert str(tmp_path) not in json.dumps(known)
    with pytest.raises(DataError, match=r"is not there, a file with .*put it into the working folder, or say where"):
        find_backbone(known)
    remember(backbone)
    assert find_backbone(known).description == known
    moved = network.path.rename(tmp_path / "moved.onnx")
    again = find_backbone(known, str(moved))
    assert (again.description["output"], again.description["fingerprint"]) == ("maps", known["fingerprint"])
    (place / "net.onnx").write_bytes(moved.read_bytes())
    assert find_backbone(known).path == Path("net.onnx")
    other = make_network(seed=1)
    with pytest.raises(DataError, match="not the backbone that the model was trained with"):
        find_backbone(known, str(other.path))
    with pytest.raises(DataError, match="the model's features are the output 'maps'; leave it out"):
        find_backbone(known, f"{moved}:f")


def test_a_file_is_compared_before_onnxruntime_opens_it(make_network, monkeypatch, place):
    """Wherever it was found: named by a person, in the working folder, or in the record of this machine."""
    known = load_backbone(str(make_network().path), STATED).description
    other = make_network(seed=1)
    remember(load_backbone(str(other.path), STATED))
    record = place.parent / "cache" / "backbones.json"
    record.write_text(json.dumps({known["fingerprint"]: str(other.path)}))
    (place / "net.onnx").write_bytes(other.path.read_bytes())

    def opened(*arguments, **options):
        raise AssertionError("onnxruntime was called")

    monkeypatch.setattr("onnxruntime.InferenceSession", opened)
    for spec in (None, str(other.path)):
        with pytest.raises(DataError, match=r"is not there|not the backbone"):
            find_backbone(known, spec)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b"[" * 100_000, b'{"%s": 3}', b'{"%s": "net.onnx"}', b'{"%s": "/"}']
)
def test_a_damaged_record_is_no_record(make_network, place, content):
    network = make_network()
    backbone = load_backbone(str(network.path), STATED)
    record = place.parent / "cache" / "backbones.json"
    record.parent.mkdir()
    record.write_bytes(content.replace(b"%s", backbone.description["fingerprint"].encode()))
    with pytest.raises(DataError, match="is not there"):
        find_backbone(backbone.description)
    remember(backbone)
    assert find_backbone(backbone.description).description == backbone.description


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("fingerprint", None, "fingerprint is missing"),
        ("fingerprint", 5, "fingerprint is missing"),
        ("fingerprint", "", "fingerprint is missing"),
        ("kind", "pickle", "kind is 'pickle'"),
        ("kind", ["onnx"], "kind is"),
        ("name", "../net.onnx", "expected a file's name"),
        ("name", "/net.onnx", "expected a file's name"),
        ("name", "", "expected a file's name"),
        ("name", "..", "expected a file's name"),
        ("name", "a\0b", "expected a file's name"),
        ("name", 3, "expected a file's name"),
        ("name", None, "expected a file's name"),
        ("output", {}, "output is"),
        ("preprocessing", [], "preprocessing is missing"),
        ("preprocessing", {"size": [1 << 20, 1 << 20]}, "at most"),
        ("preprocessing", {"size": [1e999, 8]}, "cannot be read"),
        ("batch_size", 1 << 40, "batch size"),
        ("batch_size", True, "batch size"),
    ],
)
def test_descriptions_that_are_none(make_network, name, value, message):
    path = make_network().path
    known = {**load_backbone(str(path), STATED).description, name: value}
    with pytest.raises(DataError, match=message):
        find_backbone(known, str(path))
    del known[name]
    if name not in ("output", "batch_size"):
        with pytest.raises(DataError, match="the description of the backbone cannot be used"):
            find_backbone(known, str(path))


def test_descriptions_with_a_path_keep_its_last_part(make_network, place):
    network = make_network()
    known = dict(load_backbone(str(network.path), STATED).description)
    old = {**known, "path": str(network.path)}
    del old["name"]
    with pytest.raises(DataError, match=r"^net\.onnx: the model's backbone is not there"):
        find_backbone(old)
    (place / "net.onnx").write_bytes(network.path.read_bytes())
    assert find_backbone(old).description == known
