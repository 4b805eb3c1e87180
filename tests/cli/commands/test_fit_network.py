"""From images through a network of crosshead's own to a certified last layer, on the command line."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import crosshead as package
from crosshead.losses import get_loss
from crosshead.models import Model, ModelError

if find_spec("torch") is None:
    pytest.skip("crosshead.nn needs PyTorch", allow_module_level=True)

SMALL = (
    "--backbone",
    "cnn",
    "--widths",
    "4,8",
    "--epochs",
    "2",
    "--train-batch",
    "16",
    "--threads",
    "1",
    "--workers",
    "0",
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSHEAD_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def photos(tmp_path):
    """Three classes of 12×10 RGB images, each with a bright third."""
    generator = np.random.default_rng(4)
    for number, name in enumerate(("high", "low", "middle")):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for index in range(20):
            pixels = generator.integers(0, 120, (12, 10, 3), dtype=np.uint8)
            pixels[4 * number : 4 * number + 4] += 100
            Image.fromarray(pixels).save(folder / f"{index}.png")
    return tmp_path / "photos"


def document(outcome):
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def test_the_whole_way(crosshead, photos, tmp_path):
    fit = document(crosshead("fit", photos, *SMALL, "--test", "0.25", "--output", "m", "--json"))
    assert fit["certified"]
    assert (fit["train"]["rows"], fit["test"]["rows"], fit["features"]) == (41, 15, 8)
    before, after = fit["network"]["last_layer_as_trained"], fit["network"]["last_layer_solved"]
    assert after["objective"] <= before["objective"]
    assert after["objective"] == pytest.approx(fit["objective"], rel=1e-6)
    assert (after["test_loss"], after["test_error"]) == pytest.approx((fit["test"]["mean_loss"], fit["test"]["error"]))
    assert fit["alpha"] == min(fit["network"]["alphas"], key=lambda one: one["validation_loss"])["alpha"]
    shutil.move("m", "elsewhere")  # the network moves with its model
    shutil.rmtree("m-training")
    model = Model.load("elsewhere")
    assert model.training["network"]["epochs"] == 2
    evaluated = crosshead("evaluate", "elsewhere", photos, "--json")
    assert "the model was trained on 41 of these rows" in evaluated.err
    errors = document(evaluated)["errors"]
    predicted = list(csv.reader(io.StringIO(crosshead("predict", "elsewhere", photos).out)))
    assert sum(name.partition("/")[0] != label for name, label in predicted[1:]) == errors
    one = crosshead("predict", "elsewhere", photos / "low" / "3.png", "--top", "2", "--json")
    assert one.code == 0
    [alone] = document(one)["predictions"]
    assert alone["predicted"] == dict(predicted[1:])["low/3.png"]
    exported = crosshead("export", "elsewhere", "m.onnx", "--check", photos)
    assert exported.code == 0, exported.err
    assert "images n×3×12×10" in exported.out
    assert crosshead("report", "elsewhere", photos, "--output", "page.html").code == 0
    refused = crosshead("calibrate", "elsewhere", photos, "--output", "calibrated")
    assert (refused.code, "trained on 41 of these 60 rows" in refused.err) == (2, True)
    others = shutil.copytree(photos, tmp_path / "others")
    (others / "low" / "0.png").unlink()
    assert crosshead("calibrate", "elsewhere", others, "--output", "calibrated").code == 0
    assert Model.load("calibrated").network == model.network
    embedded = crosshead("embed", photos, "--backbone", "elsewhere", "--output", "f.npz")
    assert embedded.code == 0, embedded.err
    assert document(crosshead("evaluate", "elsewhere", "f.npz", "--json"))["errors"] == errors
    assert crosshead("fit", "f.npz", "--output", "n").code == 0
    assert crosshead("predict", "n", photos).code == 0


def test_the_objective_as_trained_is_that_of_the_networks_own_head(crosshead, photos):
    import torch

    from crosshead.nn import CNN

    options = ("--scale", "standard", "--alpha", "0.01", "--l1-ratio", "0.5", "--class-weight", "balanced")
    fit = document(crosshead("fit", photos, *SMALL, *options, "--loss", "hinge", "--output", "m", "--json"))
    assert fit["network"]["alphas"] == []
    model = Model.load("m")
    crosshead("embed", photos, "--backbone", "m", "--output", "f.npz")
    with np.load("f.npz") as archive:
        features, labels = archive["features"].astype(np.float64), archive["labels"]
    rows = _learning_rows(labels)
    target = np.searchsorted(model.classes, labels)[rows].astype(np.int32)
    head = CNN.from_bytes(model.network).head
    with torch.no_grad():
        weight, bias = head.weight.double().numpy(), head.bias.double().numpy()
    losses = get_loss("hinge").value(features[rows] @ weight.T + bias, target)
    scaled = weight * features[rows].std(axis=0)
    means = [losses[target == number].mean() for number in range(3)]
    expected = np.mean(means) + 0.01 * (0.5 * np.abs(scaled).sum() + 0.25 * (scaled**2).sum())
    assert fit["network"]["last_layer_as_trained"]["objective"] == pytest.approx(expected, rel=1e-5)
    assert fit["objective"] <= expected


def _learning_rows(labels):
    from crosshead.data import Dataset, split

    numbers = Dataset(np.arange(len(labels), dtype=np.float64)[:, None], labels)
    return split(numbers, 0.1, 0)[0].features[:, 0].astype(int)


@pytest.mark.parametrize(
    "options",
    [
        ("--margin", "1,0.3,0,8"),
        ("--loss", "squared_hinge", "--pooling", "flatten"),
        ("--optimizer", "sgd", "--momentum", "0.8", "--learning-rate", "0.01", "--clip", "1"),
    ],
    ids=str,
)
def test_heads_and_optimizers(crosshead, photos, options):
    fit = document(crosshead("fit", photos, *SMALL, *options, "--output", "m", "--json"))
    assert fit["network"]["last_layer_solved"]["objective"] <= fit["network"]["last_layer_as_trained"]["objective"]
    assert document(crosshead("evaluate", "m", photos, "--json"))["rows"] == 60


CHANGES = [
    ("--accumulate", "2"), ("--warmup", "0.5"), ("--weight-decay", "0.5"), ("--head-l1", "0.1"), ("--head-l2", "0.1"),
    ("--label-smoothing", "0.2"), ("--dropout", "0.5"), ("--shift", "1"), ("--flip",), ("--random-crop", "0.2"),
    ("--cutout", "3"), ("--convolutions", "2"), ("--pooling", "max"), ("--validation", "0.2"), ("--seed", "1"),
    ("--class-weight", "balanced", "--validation", "0.25"), ("--optimizer", "sgd"), ("--learning-rate", "0.02"),
    ("--clip", "0.01"), ("--train-batch", "10"), ("--widths", "8,8"), ("--margin", "1,0.3,0,8"), ("--epochs", "2"),
    ("--no-intercept",), ("--loss", "hinge"), ("--size", "9x9"), ("--colours", "grey"), ("--crop", "0.5"),
    ("--size", "9x9", "--resample", "nearest"), ("--optimizer", "sgd", "--momentum", "0.5"),
    ("--patience", "1", "--epochs", "12", "--learning-rate", "0.1"),
]  # fmt: skip


def test_every_option_reaches_the_network(crosshead, photos):
    def network(*options):
        # A class that is rarer than the others, so that balancing them changes something.
        done = crosshead("fit", photos, *SMALL, "--epochs", "1", *options, "--alpha", "0.1", "--output", "m", "--json")
        assert done.code == 0, done.err
        return Model.load("m").network

    for index in range(12):
        (photos / "low" / f"{index}.png").unlink()
    usual = network()
    assert network() == usual
    networks = [network(*change) for change in CHANGES]
    assert [change for change, made in zip(CHANGES, networks, strict=True) if made == usual] == []
    assert len(set(networks)) == len(CHANGES)  # also those that differ from one another by one of two options


def test_idx_npz_and_digits_are_images(crosshead, tmp_path):
    generator = np.random.default_rng(0)
    pixels, labels = generator.integers(0, 256, (40, 9, 7), dtype=np.uint8), np.arange(40) % 2
    np.savez(tmp_path / "a.npz", X=pixels, y=labels, Xt=pixels[:10], yt=labels[:10])
    assert document(crosshead("fit", "a.npz", *SMALL, "--json"))["test"]["rows"] == 10
    assert document(crosshead("evaluate", "a-model", "a.npz", "--test-rows", "--json"))["rows"] == 10
    assert (
        document(crosshead("fit", "digits", *SMALL, "--epochs", "1", "--test", "0.8", "--json"))["train"]["rows"] == 323
    )


def test_sizes_colours_and_broken_images(crosshead, photos):
    (photos / "low" / "broken.png").write_bytes(b"")
    refused = crosshead("fit", photos, *SMALL, "--output", "m")
    assert (refused.code, "broken.png: the image file is empty" in refused.err) == (2, True)
    options = ("--size", "7x9", "--colours", "grey", "--crop", "0.9", "--resample", "bicubic", "--skip-broken")
    done = crosshead("fit", photos, *SMALL, *options, "--output", "m")
    assert done.code == 0, done.err
    assert "1 image could not be read and was left out" in done.err
    table = document(crosshead("describe", "m", "--json"))
    assert table["stages"][0]["output"] == [1, 9, 7]
    assert Model.load("m").encoding["backbone"]["preprocessing"]["crop"] == 0.9


def test_patience_and_history(crosshead, photos):
    options = ("--epochs", "30", "--patience", "1", "--checkpoints", "steps", "--learning-rate", "0.1")
    fit = document(crosshead("fit", photos, *SMALL, *options, "--output", "m", "--json"))["network"]
    lines = [json.loads(line) for line in Path("steps/history.jsonl").read_text().splitlines()]
    assert fit["history"][-1] == lines[-1]
    assert [one["epoch"] for one in fit["history"]] == list(range(1, fit["epochs"] + 1))
    assert fit["stopped_early"] == (fit["epochs"] < 30)


def test_the_live_line_is_the_history(crosshead, photos, monkeypatch):
    from crosshead.cli.progress import Monitor
    from crosshead.nn.training.trainer import Moment

    shown = []
    monkeypatch.setattr(Monitor, "detail", lambda monitor, text: shown.append(text))
    crosshead("fit", photos, *SMALL, "--output", "m")
    lines = [json.loads(line) for line in Path("m-training/history.jsonl").read_text().splitlines()]
    live = [text for text in shown if text.startswith("epoch")]
    assert live == [Moment(**line).line(2, lines[-1]["step"]) for line in lines]
    pattern = r"epoch 2/2  step \d+/\d+  loss \S+  validation loss \S+  error \S+ %  \d+ images/s  0 s left"
    assert re.fullmatch(pattern, live[-1])


def test_a_killed_run_resumes(crosshead, photos, tmp_path):
    """Killed by SIGKILL as soon as a checkpoint is there; the model is that of an unbroken run."""
    command = ["fit", "photos", *SMALL, "--epochs", "12", "--output", "m"]
    environment = {**os.environ, "PYTHONPATH": str(Path(package.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    program = (
        "import os, signal, sys\nfrom crosshead.nn.training import state\ntrue = state.write_checkpoint\n"
        "def write(folder, checkpoint):\n    true(folder, checkpoint)\n"
        "    if checkpoint.document['state']['epoch'] == 5: os.kill(os.getpid(), signal.SIGKILL)\n"
        "state.write_checkpoint = write\nfrom crosshead.cli.start import run\nrun()"
    )
    killed = subprocess.run(
        [sys.executable, "-c", program, *command], env=environment, capture_output=True, cwd=tmp_path, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    Path("m-training/.checkpoint.safetensors.0123456789abcdef.tmp").write_text("what a kill at the next one leaves")
    unresumed = crosshead(*command)
    assert (unresumed.code, "holds an unfinished training, 5 epoch(s) long" in unresumed.line) == (2, True)
    other = crosshead(*command, "--dropout", "0.3", "--resume")
    assert (other.code, "other options or other images" in other.line) == (2, True)
    assert not Path("m").exists()
    resumed = crosshead(*command, "--resume")
    assert resumed.code == 0, resumed.err
    assert "12 epochs, 5 of them by an earlier run" in resumed.out
    assert sorted(os.listdir("m-training")) == ["checkpoint.safetensors", "history.jsonl"]
    assert crosshead(*command[:-1], "whole").code == 0
    one, whole = Model.load("m"), Model.load("whole")
    assert one.network == whole.network
    np.testing.assert_array_equal(one.weight, whole.weight)


@pytest.fixture
def threads():
    """As many threads afterwards as before: a command sets its own for the whole process."""
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.filterwarnings("default::crosshead.nn.training.trainer.ResumeWarning")
def test_a_run_resumed_with_other_threads_ends_alike(crosshead, photos, tmp_path, monkeypatch):
    from crosshead.nn.training import state

    keep = state.write_checkpoint

    def keep_one(folder, checkpoint):
        keep(folder, checkpoint)
        raise KeyboardInterrupt

    command = ["fit", "photos", *SMALL, "--widths", "32,64", "--epochs", "3", "--alpha", "0.01"]
    assert crosshead(*command, "--output", "whole").code == 0
    with monkeypatch.context() as patched:
        patched.setattr(state, "write_checkpoint", keep_one)
        stopped = crosshead(*command, "--output", "m")
    assert (stopped.code, "--resume goes on after it" in stopped.err) == (1, True)
    resumed = crosshead(*command, "--output", "m", "--threads", "2", "--resume")
    assert (resumed.code, len(resumed.err.splitlines())) == (0, 1)
    assert "crosshead: warning: m-training: the training was begun with 1 thread and goes on so" in resumed.err
    one, whole = Model.load("m"), Model.load("whole")
    assert one.network == whole.network
    np.testing.assert_array_equal(one.weight, whole.weight)


def test_a_checkpoint_cut_short_is_one_line(crosshead, photos):
    crosshead("fit", photos, *SMALL, "--epochs", "1", "--output", "m")
    path = Path("m-training/checkpoint.safetensors")
    path.write_bytes(path.read_bytes()[:-100])
    before = Path("m/model.json").read_bytes()
    for options in ((), ("--resume",)):
        refused = crosshead("fit", photos, *SMALL, "--epochs", "1", "--output", "m", *options)
        assert (refused.code, "checkpoint.safetensors: not a checkpoint, or a damaged one" in refused.line) == (2, True)
    assert Path("m/model.json").read_bytes() == before


def test_a_folder_of_parquet_files(crosshead, photos):
    """In Hugging Face's layout: the same rows as the folder of images, so the same network."""
    import pyarrow
    from pyarrow import parquet

    files = sorted(photos.glob("*/*.png"))
    Path("hub/data").mkdir(parents=True)
    for number, part in enumerate((files[:25], files[25:])):
        cells = [{"bytes": file.read_bytes(), "path": file.relative_to(photos).as_posix()} for file in part]
        table = pyarrow.table({"image": cells, "label": [file.parent.name for file in part]})
        parquet.write_table(table, f"hub/data/train-{number:05}-of-00002.parquet")
    options = (*SMALL, "--epochs", "1", "--alpha", "0.1")
    crosshead("fit", photos, *options, "--output", "m")
    done = crosshead("fit", "hub", *options, "--output", "n")
    assert done.code == 0, done.err
    assert Model.load("n").network == Model.load("m").network
    assert crosshead("predict", "n", "hub", "--top", "1").out == crosshead("predict", "m", photos, "--top", "1").out


def test_a_diverging_training_names_the_images(crosshead, photos):
    done = crosshead(
        "fit", photos, *SMALL, "--learning-rate", "1e30", "--warmup", "0", "--clip", "1e30", "--output", "m"
    )
    assert done.code == 1
    assert "try a lower learning rate than 1e+30" in done.line
    assert ".png" in done.line
    assert "(epoch 1)" in done.line
    assert not Path("m").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--epochs", "3"), "--epochs is about a network that is trained; it needs --backbone cnn"),
        (("--backbone", "cnn", "--mean", "0.5"), "--mean: means nothing with --backbone cnn"),
        (("--backbone", "cnn", "--colours", "bgr"), "--colours bgr"),
        (("--backbone", "cnn", "--cache", "x"), "--cache: with --backbone cnn"),
        (("--backbone", "cnn", "--ignore", "x"), "--ignore names columns"),
        (("--backbone", "cnn", "--margin", "1,0.5"), "--margin 1,0.5: give m1,m2,m3"),
        (("--backbone", "cnn", "--margin", "1,0.5,0", "--loss", "hinge"), "a margin belongs to softmax"),
        (("--backbone", "cnn", "--widths", "1.5"), "give whole numbers above 0"),
        (("--backbone", "cnn", "--pooling", "sum"), "--pooling sum: choose one of average, max, flatten"),
        (("--backbone", "cnn", "--optimizer", "lion"), "--optimizer lion: choose one of"),
        (("--backbone", "cnn", "--momentum", "0.5"), "--momentum: it belongs to sgd"),
        (("--backbone", "cnn", "--optimizer", "adamw", "--momentum", "0.5"), "--momentum: it belongs to sgd"),
        (("--backbone", "cnn", "--dropout", "2"), "--dropout 2: it must be between 0 and 1"),
        (("--backbone", "cnn", "--validation", "1"), "--validation 1: it must lie between 0 and 1"),
        (("--backbone", "cnn", "--label-smoothing", "0.1", "--loss", "hinge"), "no option 'label_smoothing'"),
        (("--backbone", "cnn", "--accumulate", "99"), "empty parts"),
        (("--backbone", "cnn", "--checkpoints", "photos"), "photos: holds 'high', which is no checkpoint"),
    ],
)
def test_wrong_options_are_one_line(crosshead, photos, options, message):
    done = crosshead("fit", "photos", *options)
    assert done.code == 2
    assert message in done.line


def test_classes_without_an_image_to_learn_from(crosshead, photos):
    """Told before the training, and not by the solver after it."""
    for name in ("high", "low", "middle"):
        for index in range(1, 20):
            (photos / name / f"{index}.png").unlink()
    refused = crosshead("fit", "photos", *SMALL)
    assert (refused.code, "no image of class " in refused.line) == (2, True)
    assert "a smaller share of them with --validation" in refused.line
    assert not Path("photos-model-training").exists()


def test_an_altered_network_is_refused(crosshead, photos):
    crosshead("fit", photos, *SMALL, "--epochs", "1", "--output", "m")
    path = Path("m/network.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    with pytest.raises(ModelError, match=r"network\.safetensors was altered or cut short"):
        Model.load("m")
    path.unlink()
    with pytest.raises(ModelError, match="missing"):
        Model.load("m")


def test_describe(crosshead, photos):
    crosshead("fit", photos, *SMALL, "--epochs", "1", "--scale", "standard", "--output", "m")
    done = crosshead("describe", "m")
    lines = [line.split() for line in done.out.splitlines()]
    assert lines[0] == ["stage", "output", "parameters", "operations"]
    assert lines[1][1:] == ["3×12×10", "0", "0"]
    assert lines[2] == ["convolution", "1.1", "4×12×10", str(4 * 3 * 9 + 2 * 4), str(12 * 10 * 4 * 3 * 9)]
    assert lines[-2] == ["last", "layer,", "softmax", "3", "27", "24"]
    assert done.out.splitlines()[-1].startswith("all")
    assert "3×12×10 → 8 → 3" in done.out


def test_describe_other_models(crosshead, flowers):
    crosshead("fit", flowers, "--target", "kind", "--output", "m")
    table = document(crosshead("describe", "m", "--json"))
    assert [stage["name"] for stage in table["stages"]] == ["features", "last layer, softmax"]
    assert (table["parameters"], table["operations"]) == (6, 4)
    crosshead("fit", "digits", "--output", "n")
    assert "8×8 → 64 → 10" in crosshead("describe", "n").out


def test_a_model_without_a_network_is_no_backbone(crosshead, photos, flowers):
    crosshead("fit", flowers, "--target", "kind", "--output", "m")
    done = crosshead("fit", photos, "--backbone", "m")
    assert (done.code, "has no network of its own" in done.line) == (2, True)


def test_the_checkpoints_are_called_the_same():
    from crosshead.cli.commands.fit import network as network_fitting
    from crosshead.nn.training import checkpoint

    assert (network_fitting.CHECKPOINT, network_fitting.HISTORY) == (checkpoint.CHECKPOINT, checkpoint.HISTORY)
