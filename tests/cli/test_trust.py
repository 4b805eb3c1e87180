"""What somebody else's model or file of features asks for is not run: no command imports a module that it names."""

from __future__ import annotations

import json
import sys

import numpy as np
import pyarrow.parquet
import pytest

from crosshead.models import Model
from crosshead.models.document import document_digest

PREPROCESSING = {"size": [8, 8], "white": 1.0, "mean": [0.0], "std": [1.0]}
MARKER = "from pathlib import Path\nPath('marker').touch()\n\n\ndef run():\n    Path('marker').touch()\n"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSHEAD_CACHE", str(tmp_path / "cache"))


def described(module, **changes):
    """What a model says of a backbone, with the path as earlier versions wrote it."""
    path = f"torch:{module}:run"
    known = {"kind": "torch", "path": path, "output": None, "fingerprint": "0" * 64, "preprocessing": PREPROCESSING}
    return {name: value for name, value in {**known, **changes}.items() if value is not ...}


def write_model(folder, backbone):
    """A model of six features and two classes; its document says that this backbone makes the features."""
    Model(np.eye(2, 6), np.zeros(2), np.array(["dark", "light"]), "softmax").save(folder)
    file = folder / "model.json"
    document = json.loads(file.read_text())
    document["encoding"] = {"kind": "embedding", "backbone": backbone, "n_features": 6}
    document["document_sha256"] = document_digest(document)
    file.write_text(json.dumps(document))


@pytest.fixture
def module(tmp_path):
    """A module in the working folder that leaves a file behind when it is imported or called."""
    name = f"marker_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MARKER)
    return name


COMMANDS = [
    ["predict", "m", "photos"],
    ["predict", "m", "photos", "--output", "p.csv"],
    ["evaluate", "m", "photos"],
    ["report", "m", "photos", "--output", "page.html"],
    ["explain", "m", "photos", "--row", "1"],
    ["export", "m", "m.onnx"],
    ["export", "m", "m.onnx", "--head-only", "--check", "photos"],
    ["top-losses", "m", "photos"],
    ["calibrate", "m", "photos", "--output", "c"],
    ["compare", "m", "n", "photos"],
    ["embed", "photos", "--backbone", "m", "--output", "f.npz"],
    ["fit", "photos", "--backbone", "m", "--output", "o"],
    ["fit", "features.npz", "--test", "photos", "--output", "o"],
    ["fit", "features.parquet", "--test", "photos", "--output", "o"],
]


@pytest.mark.parametrize("form", ["path", "name"])
def test_no_command_imports_what_a_model_names(crosshead, photos, module, tmp_path, form):
    backbone = described(module)
    if form == "name":
        backbone["name"] = backbone.pop("path")
    write_model(tmp_path / "m", backbone)
    write_model(tmp_path / "n", backbone)
    write_features(tmp_path, backbone)
    before = list(sys.path), set(tmp_path.iterdir())
    for command in COMMANDS:
        refused = crosshead(*command)
        assert refused.code == 2, command
        assert ("Python code" in refused.line) is (command[2] != "--backbone"), command
        if command[2] != "--backbone":
            assert f"'torch:{module}:run'" in refused.line
            assert "--backbone torch:MODULE:NAME imports MODULE and calls NAME" in refused.line
    assert module not in sys.modules
    assert (sys.path, set(tmp_path.iterdir())) == before


def write_features(folder, backbone):
    rows = np.eye(2, 6, dtype=np.float32)
    np.savez(
        folder / "features.npz",
        features=rows,
        names=["a", "b"],
        labels=["dark", "light"],
        backbone=json.dumps(backbone),
    )
    lists = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(rows.reshape(-1)), 6)
    table = pyarrow.table({"file": ["a", "b"], "label": ["dark", "light"], "features": lists})
    table = table.replace_schema_metadata({"crosshead.backbone": json.dumps(backbone)})
    pyarrow.parquet.write_table(table, folder / "features.parquet")


def test_a_name_that_was_typed_runs_and_is_compared(crosshead, photos, module, tmp_path):
    pytest.importorskip("torch")
    write_model(tmp_path / "m", described("somewhere.else"))
    before = list(sys.path)
    refused = crosshead("predict", "m", photos, "--backbone", f"torch:{module}:run")
    assert refused.code == 2
    assert "'run' is NoneType, not a torch.nn.Module" in refused.line
    assert (tmp_path / "marker").exists()
    assert sys.path == before


@pytest.mark.parametrize(
    "changes",
    [
        {"fingerprint": ...},
        {"fingerprint": None},
        {"fingerprint": ["0" * 64]},
        {"kind": ...},
        {"kind": {"onnx": 1}},
        {"path": ...},
        {"path": 5},
        {"path": "torch:a:b/"},
        {"preprocessing": ...},
        {"preprocessing": "none"},
        {"output": 7},
        {"network": {"widths": 3}},
        {"network": "cnn"},
        {"batch_size": "many"},
        {"kind": "onnx", "path": "../../etc/net.onnx", "preprocessing": {"size": "ab"}},
        {"kind": "onnx", "path": "/etc/passwd", "fingerprint": "f" * 64},
        {"kind": "cnn", "path": "/etc/passwd", "fingerprint": "f" * 64},
    ],
)
def test_descriptions_of_wrong_types_are_told_in_one_line(crosshead, photos, tmp_path, changes):
    backbone = described("nothing", **changes)
    write_model(tmp_path / "m", backbone)
    write_features(tmp_path, backbone)
    for command in (
        ["predict", "m", "photos"],
        ["evaluate", "m", "features.npz"],
        ["evaluate", "m", "features.parquet"],
        ["export", "m", "m.onnx"],
        ["describe", "m"],
    ):
        done = crosshead(*command)
        assert done.code in (0, 2), done.err
        assert done.code == 0 or len(done.err.splitlines()) == 1
    assert crosshead("predict", "m", "photos").code == 2


@pytest.mark.parametrize("backbone", [None, [], "torch:os:abort"])
def test_a_model_of_features_says_which_backbone(crosshead, photos, tmp_path, backbone):
    write_model(tmp_path / "m", backbone)
    assert "m: model.json: the description of the backbone is no JSON object" in crosshead("predict", "m", photos).line


def test_other_weights_beside_the_network_are_another_backbone(crosshead, photos, make_network, tmp_path):
    onnx = pytest.importorskip("onnx")
    path = make_network().path
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="other.weights", size_threshold=0)
    weights = tmp_path / "other.weights"
    fit = ("fit", photos, "--backbone", path, "--mean", "0.5", "--output", "m")
    assert crosshead(*fit).code == 0
    assert crosshead("predict", "m", photos).code == 0
    assert crosshead("export", "m", "m.onnx", "--check", photos).code == 0
    weights.write_bytes((np.fromfile(weights, np.float32) + 1).tobytes())
    for command in (["predict", "m", photos], ["evaluate", "m", photos], ["export", "m", "other.onnx"]):
        assert "backbone is not there, a file with SHA-256" in crosshead(*command).line
        assert "its fingerprint differs" in crosshead(*command, "--backbone", path).line
    assert "kept in" in crosshead(*fit).err


def test_a_network_of_ours_comes_from_the_models_folder_alone(crosshead, photos, tmp_path):
    """A document that says another fingerprint, or names a file elsewhere, is refused."""
    torch = pytest.importorskip("torch")
    from crosshead.nn import CNN

    torch.manual_seed(0)
    network = CNN((3, 8, 8), 2, widths=(6,))
    backbone = described("", kind="cnn", path=str(tmp_path / "network.safetensors"), network={"widths": [6]})
    folder = tmp_path / "m"
    write_model(folder, backbone)
    (tmp_path / "network.safetensors").write_bytes(network.to_bytes())
    assert "network.safetensors: the model's backbone is not there" in crosshead("predict", "m", photos).line
    model = Model.load(folder)
    model = Model(
        model.weight, model.bias, model.classes, model.loss, encoding=model.encoding, network=network.to_bytes()
    )
    model.save(folder)
    assert "its fingerprint differs" in crosshead("predict", "m", photos).line
    assert "its fingerprint differs" in crosshead("embed", photos, "--backbone", "m", "--output", "f.npz").line
