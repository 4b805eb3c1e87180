"""Weights outside a network's file: part of its fingerprint, and never outside its folder."""

from __future__ import annotations

import hashlib
import os

import numpy as np
import pytest

from crosshead.backbones import find_backbone, load_backbone
from crosshead.backbones.embedding import Embedding, embed_cached
from crosshead.backbones.onnx_files import _FIELDS, external_elements, read_network
from crosshead.data import DataError, load, open_images

onnx = pytest.importorskip("onnx")

STATED = {"mean": 0.5, "std": 0.25}
PIXELS = np.random.default_rng(5).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)


@pytest.fixture
def large(make_network):
    """A network with kernels in an external file `weights`, and a function that writes those of another seed."""
    network = make_network("large.onnx")

    def write(seed=0, location="weights"):
        made = onnx.load(make_network("other.onnx", seed=seed).path)
        for tensor in made.graph.initializer:
            onnx.external_data_helper.set_external_data(tensor, location)
        onnx.save(made, network.path)
        return network

    return write


def tensor(location=None):
    made = onnx.numpy_helper.from_array(np.zeros(3, np.float32), "t")
    if location is not None:
        onnx.external_data_helper.set_external_data(made, location)
        made.ClearField("raw_data")
    return made


def test_a_network_in_one_file_has_that_files_fingerprint(make_network):
    path = make_network().path
    path.with_name("net.onnx.data").write_bytes(b"another file")
    assert read_network(path).fingerprint == hashlib.sha256(path.read_bytes()).hexdigest()


def test_weights_in_other_files_count(large, photos, tmp_path):
    """Also names that exporters do not use: the network determines where its weights are."""
    path = large(seed=0).path
    first = load_backbone(str(path), STATED)
    inside = load_backbone(f"{path}:maps", STATED)
    np.testing.assert_allclose(inside.embed(PIXELS), first.embed(PIXELS), rtol=1e-6, atol=1e-6)
    assert onnx.load(path, load_external_data=False).graph.initializer[0].data_location == onnx.TensorProto.EXTERNAL
    kept = embed_cached(open_images(photos), first, tmp_path / "cache", Embedding(4))
    network = path.read_bytes()
    weights = np.fromfile(tmp_path / "weights", np.float32)
    (tmp_path / "weights").write_bytes((weights * 2).tobytes())
    assert path.read_bytes() == network
    with pytest.raises(DataError, match="not the backbone that the model was trained with"):
        find_backbone(first.description, str(path))
    second = load_backbone(str(path), STATED)
    assert second.description["fingerprint"] != first.description["fingerprint"]
    made = embed_cached(open_images(photos), second, tmp_path / "cache", Embedding(4))
    assert not made.cached
    assert not np.allclose(load(made.path).features, load(kept.path).features)


def test_what_names_weights_is_found_wherever_it_stands():
    helper = onnx.helper
    constant = helper.make_node("Constant", [], ["c"], value=tensor("attribute"))
    listed = helper.make_node("Op", [], ["d"], domain="own", values=[tensor("listed"), tensor()])
    inner = helper.make_graph([constant], "inner", [], [], [tensor("subgraph")])
    branch = helper.make_node("If", ["c"], ["e"], then_branch=inner, else_branch=helper.make_graph([], "n", [], []))
    graph = helper.make_graph([listed, branch], "g", [], [], [tensor("deep/initialiser"), tensor()])
    sparse = onnx.SparseTensorProto(dims=[9])
    sparse.values.CopyFrom(tensor("sparse values"))
    sparse.indices.CopyFrom(tensor("sparse indices"))
    graph.sparse_initializer.append(sparse)
    node = helper.make_node("Constant", [], ["c"], value=tensor("function"))
    sparse_node = onnx.NodeProto(op_type="Constant", output=["s"])
    sparse_node.attribute.append(onnx.AttributeProto(name="v", type=onnx.AttributeProto.SPARSE_TENSOR))
    sparse_node.attribute[0].sparse_tensor.values.CopyFrom(tensor("sparse attribute"))
    function = helper.make_function("own", "f", [], ["c"], [node, sparse_node], [helper.make_opsetid("", 20)])
    model = helper.make_model(graph, functions=[function])
    training = model.training_info.add()
    training.initialization.initializer.append(tensor("training"))
    assert set(external_elements(model.SerializeToString(), "net")) == {
        *("attribute", "listed", "subgraph", "deep/initialiser", "sparse values", "sparse indices"),
        *("function", "sparse attribute", "training"),
    }


def test_field_numbers_are_those_of_onnx():
    """Every field that may lead to a tensor is followed: by the descriptors of the package onnx."""
    names = {
        "model": onnx.ModelProto,
        "graph": onnx.GraphProto,
        "training": onnx.TrainingInfoProto,
        "function": onnx.FunctionProto,
        "node": onnx.NodeProto,
        "attribute": onnx.AttributeProto,
        "sparse": onnx.SparseTensorProto,
        "tensor": onnx.TensorProto,
        "entry": onnx.StringStringEntryProto,
    }
    ours = {made.DESCRIPTOR.full_name: name for name, made in names.items()}
    for name, fields in _FIELDS.items():
        for field in names[name].DESCRIPTOR.fields:
            kind = None if field.message_type is None else ours.get(field.message_type.full_name)
            if kind != "entry" or field.name == "external_data":
                assert fields.get(field.number) == kind, field.full_name


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("../outside", "outside its folder"),
        ("below/../../outside", "outside its folder"),
        ("{folder}/outside", "outside its folder"),
        ("link", "a link that leads outside its folder"),
        ("linked/outside", "a link that leads outside its folder"),
        ("missing", "is not there; put that file beside the network"),
        ("below", "must be a regular file"),
        ("pipe", "must be a regular file"),
        ("*/_ORT_MEM_ADDR_/*", "an address in memory"),
        ("..\\outside", "not a file name"),
        ("a\0b", "not a file name"),
        ("\x1b[2J", "not a file name"),
    ],
)
def test_places_that_are_refused_before_onnxruntime_opens_the_network(
    make_network, tmp_path, monkeypatch, location, message
):
    (tmp_path / "outside").write_bytes(bytes(10_000))
    home = tmp_path / "home"
    (home / "below").mkdir(parents=True)
    (home / "link").symlink_to(tmp_path / "outside")
    (home / "linked").symlink_to(tmp_path)
    os.mkfifo(home / "pipe")
    model = onnx.load(make_network().path)
    made = model.graph.initializer[0]
    del made.external_data[:]
    made.ClearField("raw_data")
    made.data_location = onnx.TensorProto.EXTERNAL
    made.external_data.add(key="location", value=location.format(folder=tmp_path))
    (home / "net.onnx").write_bytes(model.SerializeToString())
    monkeypatch.setattr("onnxruntime.InferenceSession", None)
    with pytest.raises(DataError, match=message) as refused:
        load_backbone(str(home / "net.onnx"), STATED)
    assert str(refused.value).isprintable()


def test_a_folder_of_links_into_a_store(large, tmp_path):
    """As a cache of downloads has it: both files are links, and what they lead to lies in one folder."""
    path = large().path
    (tmp_path / "store").mkdir()
    (tmp_path / "links").mkdir()
    for name, blob in (("large.onnx", "1"), ("weights", "2")):
        (tmp_path / name).rename(tmp_path / "store" / blob)
        (tmp_path / "links" / name).symlink_to(tmp_path / "store" / blob)
    assert set(read_network(tmp_path / "links" / path.name).external) == {"weights"}


@pytest.mark.parametrize("packed", [True, False])
def test_tensors_that_say_to_be_larger_than_they_are(packed):
    """Dimensions may be written one by one or together."""

    def network(*dims):
        shape = bytes([10, len(dims), *dims]) if packed else b"".join(bytes([8, size]) for size in dims)
        tensor = shape + onnx.TensorProto(data_type=1, raw_data=bytes(8)).SerializeToString()
        assert list(onnx.TensorProto.FromString(tensor).dims) == list(dims)
        graph = bytes([0x2A, len(tensor)]) + tensor
        return bytes([0x3A, len(graph)]) + graph

    assert external_elements(network(1, 2), "net") == {}
    assert external_elements(network(100, 0), "net") == {}
    with pytest.raises(DataError, match=r"net: a tensor of 10000 numbers is declared in 1\d bytes"):
        external_elements(network(100, 100), "net")


def test_external_tensors_are_no_larger_than_their_files(large):
    path = large().path
    model = onnx.load(path, load_external_data=False)
    tensor = next(one for one in model.graph.initializer if one.external_data)
    tensor.dims[0] = 1 << 62
    path.write_bytes(model.SerializeToString())
    with pytest.raises(DataError, match=r"large\.onnx: a tensor of \d+ numbers is declared in \d+ bytes"):
        read_network(path)


def test_sparse_tensors_become_dense_ones():
    sparse = onnx.SparseTensorProto(dims=[1 << 20, 1 << 20])
    graph = onnx.helper.make_graph([], "g", [], [], sparse_initializer=[sparse])
    with pytest.raises(DataError, match=f"net: a tensor of {1 << 40} numbers"):
        external_elements(onnx.helper.make_model(graph).SerializeToString(), "net")


@pytest.mark.parametrize("end", [1, 7, 50, -1])
def test_networks_cut_short(make_network, end):
    path = make_network().path
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(DataError, match=r"net\.onnx: not a network"):
        load_backbone(str(path), STATED)


def test_other_files_are_refused(tmp_path):
    generator = np.random.default_rng(0)
    for content in (b"\x80" * 30, b"words", b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", b"12345678"):
        with pytest.raises(DataError, match="not a network in ONNX"):
            external_elements(content, "net")
    for _ in range(300):
        try:
            assert external_elements(generator.bytes(40), "net") == {}
        except DataError as error:
            assert "not a network in ONNX" in str(error)  # noqa: PT017
    with pytest.raises(DataError, match="onnxruntime's own format"):
        external_elements(b"\x18\0\0\0ORTM" + bytes(100), "net")
    nested = b""
    for number in [*[6, 5, 1] * 400, 7]:
        size, length = len(nested), b""
        while size >= 128:
            length, size = length + bytes([size & 127 | 128]), size >> 7
        nested = bytes([number << 3 | 2]) + length + bytes([size]) + nested
    with pytest.raises(DataError, match="not a network in ONNX"):
        external_elements(nested, "net")
    with (tmp_path / "huge.onnx").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DataError, match="larger than 2 GiB"):
        read_network(tmp_path / "huge.onnx")
    os.mkfifo(tmp_path / "pipe.onnx")
    for name, message in (
        ("pipe.onnx", "must be a regular file"),
        ("none.onnx", "no such file"),
        (".", "regular file"),
    ):
        with pytest.raises(DataError, match=message):
            read_network(tmp_path / name)


def test_weights_that_change_while_they_are_read(large, tmp_path):
    files = read_network(large().path)
    files.check_unchanged()
    os.utime(tmp_path / "weights", ns=(1, 1))
    with pytest.raises(DataError, match=r"weights: changed while it was read"):
        files.check_unchanged()
