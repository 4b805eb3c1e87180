"""What somebody else's model or file of features asks for is not run: no command imports a module that it names."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

import crosshead as crosshead_package
from crosshead.models import Model
from crosshead.models.json_document import document_digest

PREPROCESSING = {
    "size": [8, 8],
    "colours": "rgb",
    "resample": "bilinear",
    "white": 1.0,
    "mean": [0.0],
    "std": [1.0],
    "layout": "nchw",
}
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
    assert "the description of the backbone is not a JSON object" in crosshead("predict", "m", photos).line


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


def write_archive(path, dtype):
    """Features whose header states this type, over bytes that would be addresses if it holds objects."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, values in (("names", np.array(["a", "b"])), ("backbone", np.array(json.dumps(described("os"))))):
            with archive.open(f"{name}.npy", "w") as stream:
                np.lib.format.write_array(stream, values)
        with archive.open("features.npy", "w") as stream:
            np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": (2, 3)})
            stream.write(b"\x41" * 400)


@pytest.mark.parametrize("dtype", ["|O", [("a", "|O")]])
def test_arrays_of_objects_are_never_read(crosshead, tmp_path, dtype):
    write_archive(tmp_path / "f.npz", dtype)
    assert crosshead("check", "f.npz").code == 2


def test_an_image_is_never_given_to_another_program(crosshead, tmp_path, monkeypatch):
    """PostScript under the name of an image: Pillow would have Ghostscript run it."""
    eps = importlib.import_module("PIL.EpsImagePlugin")
    (tmp_path / "p").mkdir()
    for name in ("a", "b"):
        (tmp_path / "p" / name).mkdir()
        Image.new("RGB", (4, 4)).save(tmp_path / "p" / name / "0.png", format="EPS")

    def run(*arguments):
        raise AssertionError("Ghostscript was called")

    monkeypatch.setattr(eps, "Ghostscript", run)
    refused = crosshead("check", "p", "--size", "4")
    assert refused.code == 2
    assert "cannot identify image file" in refused.line


@pytest.mark.parametrize("started", [["-m", "crosshead"], ["-c", "from crosshead.cli.start import run; run()"]])
def test_nothing_is_imported_from_the_working_folder(photos, tmp_path, started):
    """Neither by the command nor by the processes that decode images for it."""
    names = ("joblib", "loky", "PIL", "multiprocessing", "pickle", "rich", "numpy", "sitecustomize")
    folder = tmp_path / "here"
    folder.mkdir()
    for name in names:
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'marker')!r}, 'a').write(__name__)\n")
    path = str(Path(crosshead_package.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": path}
    if started[0] == "-c":  # as the installed command starts: Python does not look in the working folder
        environment["PYTHONSAFEPATH"] = "1"
    command = [sys.executable, *started, "check", "../photos", "--size", "8", "--json"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    json.loads(done.stdout)
    assert not (tmp_path / "marker").exists(), (tmp_path / "marker").read_text()


def test_processes_that_decode_import_nothing_from_the_working_folder(photos, tmp_path):
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "joblib.py").write_text(f"open({str(tmp_path / 'marker')!r}, 'w')\n")
    program = (
        "from crosshead.data import open_images, ImageForm\n"
        "batches = open_images('../photos').batches(ImageForm((8, 8), 3), batch_size=4, workers=1)\n"
        "print(sum(len(batch.pixels) for batch in batches))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(crosshead_package.__file__).parents[1])}
    environment.pop("PYTHONSAFEPATH", None)
    command = [sys.executable, "-P", "-c", program]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "30", done.stderr
    assert not (tmp_path / "marker").exists()


def test_links_in_place_of_unfinished_features(crosshead, photos, make_network, tmp_path):
    """A folder from somebody else that holds links must not have files elsewhere emptied or removed."""
    path = make_network().path
    own = tmp_path / "own"
    own.mkdir()
    (own / "letter").write_text("dear all")
    embed = ("embed", photos, "--backbone", path, "--output", "sent/f.npz")
    (tmp_path / "sent").mkdir()
    partial = tmp_path / "sent" / ".f.npz.partial"
    partial.symlink_to(own)
    assert "which no run of crosshead leaves" in crosshead(*embed).err
    partial.unlink()
    partial.mkdir()
    (partial / "train.bin").symlink_to(own / "letter")
    refused = crosshead(*embed)
    assert refused.code == 2
    assert "train.bin is a link" in refused.err
    assert [(entry.name, entry.read_text()) for entry in own.iterdir()] == [("letter", "dear all")]


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_links_and_pipes_in_place_of_checkpoints(crosshead, photos, tmp_path, kind):
    pytest.importorskip("torch")
    (tmp_path / "c").mkdir()
    if kind == "link":
        (tmp_path / "c" / "history.jsonl").symlink_to(tmp_path / "own")
    else:
        os.mkfifo(tmp_path / "c" / "history.jsonl")
    (tmp_path / "own").write_text("dear all")
    refused = crosshead("fit", photos, "--backbone", "cnn", "--checkpoints", "c", "--epochs", "1", "--output", "m")
    assert refused.code == 2
    assert "c: holds 'history.jsonl', which is no checkpoint" in refused.err
    assert (tmp_path / "own").read_text() == "dear all"


def test_class_names_are_no_formulas_and_no_tex(crosshead, tmp_path):
    rows = [(x, y, r"$\frac{a$ & \input{x}" if x > y else "$x^$") for x in range(6) for y in range(6) if x != y]
    (tmp_path / "t.csv").write_text("a,$b_{,c\n" + "".join(f'{x},{y},"{name}"\n' for x, y, name in rows))
    assert crosshead("fit", "t.csv", "--target", "c", "--output", "m").code == 0
    pytest.importorskip("jinja2")
    matplotlib = pytest.importorskip("matplotlib")
    with matplotlib.rc_context({"text.usetex": True}):
        done = crosshead("report", "m", "t.csv", "--output", "page.html")
    assert done.code == 0, done.err
    assert "$x^$" in (tmp_path / "page.html").read_text()
