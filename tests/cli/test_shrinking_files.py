"""Files that become shorter while a command reads them: exit code 2, one line that names them, and no output."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crosshead.cli.commands.evaluate import run as evaluating
from crosshead.cli.commands.fit import run as fitting
from crosshead.cli.commands.predict import rows as predicting_rows
from crosshead.data.formats.feature_files import FeatureRows, write_archive
from crosshead.linear import prediction
from crosshead.models import scoring

pytestmark = pytest.mark.skipif(find_spec("crosshead._native") is None, reason="the guard is in the native module")

SHORTER = "the file became shorter while it was read; read it again once nobody writes to it"
SIZE = 400_000


@pytest.fixture
def pair(rows_on_disk: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> str:
    """A source whose file of features is read in several blocks."""
    monkeypatch.setattr(scoring, "BLOCK_BYTES", 1 << 17)
    return "X.npy,y.npy"


@pytest.fixture
def model(crosshead: Any, pair: str) -> str:
    """The folder of a model of them."""
    assert crosshead("fit", pair, "--output", "model", "--tol", "1e-2").code == 0
    return "model"


def assert_refused(outcome: Any, folder: Path, before: list[str], name: str = "X.npy") -> None:
    errors = [line for line in outcome.err.splitlines() if not line.startswith("crosshead: note:")]
    assert (outcome.code, errors) == (2, [f"crosshead: error: {name}: {SHORTER}"])
    assert "%" not in outcome.out
    assert sorted(os.listdir(folder)) == before


# Before it is read, before it is scaled, trained on and measured, and at the end, where all may be right.
@pytest.mark.parametrize("name", ["_read", "fitted_scaler", "_train", "measure", "Fitted"])
def test_fit(crosshead: Any, pair: str, cutter: Any, tmp_path: Path, name: str) -> None:
    before = sorted(os.listdir(tmp_path))
    if name == "_read":
        cutter.when_mapped(Path("X.npy"), SIZE)
    else:
        cutter.at_call(fitting, name, tmp_path / "X.npy", SIZE)
    assert_refused(crosshead("fit", pair, "--output", "model"), tmp_path, before)


@pytest.mark.parametrize("suffix", ["csv", "npz", "parquet"])
@pytest.mark.parametrize("engine", ["native", "reference"])
def test_predict(crosshead: Any, model: str, pair: str, cutter: Any, tmp_path: Path, suffix: str, engine: str) -> None:
    before = sorted(os.listdir(tmp_path))
    cutter.at_call(predicting_rows, "block_of", tmp_path / "X.npy", SIZE)  # after the first block is scored
    output = f"p.{suffix}"
    assert_refused(crosshead("predict", model, pair, "--output", output, "--engine", engine), tmp_path, before)


def test_predict_to_the_terminal(crosshead: Any, model: str, pair: str, cutter: Any, tmp_path: Path) -> None:
    before = sorted(os.listdir(tmp_path))
    whole = crosshead("predict", model, pair).out.splitlines()
    cutter.at_call(predicting_rows, "block_of", tmp_path / "X.npy", SIZE)
    outcome = crosshead("predict", model, pair)
    assert_refused(outcome, tmp_path, before)
    rows = outcome.out.splitlines()
    assert 0 < len(rows) < len(whole)
    assert rows == whole[: len(rows)]


@pytest.mark.parametrize("command", ["evaluate", "top-losses"])
def test_measures_are_not_shown(
    crosshead: Any, model: str, pair: str, cutter: Any, tmp_path: Path, command: str
) -> None:
    before = sorted(os.listdir(tmp_path))
    cutter.at_call(prediction, "score_blocks", tmp_path / "X.npy", SIZE)
    outcome = crosshead(command, model, pair)
    assert_refused(outcome, tmp_path, before)
    assert outcome.out == ""


def test_evaluate_predictions(crosshead: Any, cutter: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "P.npy", np.full((20_000, 4), 0.25))
    np.save(tmp_path / "y.npy", np.arange(20_000) % 4)
    before = sorted(os.listdir(tmp_path))
    cutter.at_call(evaluating, "evaluate_predictions", tmp_path / "P.npy", 10_000)
    outcome = crosshead("evaluate", "P.npy,y.npy")
    assert_refused(outcome, tmp_path, before, "P.npy")
    assert outcome.out == ""


def test_features_of_images(crosshead: Any, cutter: Any, tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(3000, 60)).astype(np.float32)
    rows = FeatureRows(X, [str(row) for row in range(3000)], np.arange(3000) % 3)
    description = {"kind": "onnx", "name": "net", "output": "f", "fingerprint": 64 * "0", "preprocessing": {}}
    write_archive(tmp_path / "f.npz", rows, None, description)
    before = sorted(os.listdir(tmp_path))
    cutter.at_call(fitting, "_train", tmp_path / "f.npz", SIZE)
    assert_refused(crosshead("fit", "f.npz", "--output", "model"), tmp_path, before, "f.npz")


@pytest.mark.parametrize("arguments", [("path",), ("check",), ("explain", "model")])
def test_other_commands(crosshead: Any, model: str, pair: str, cutter: Any, tmp_path: Path, arguments: Any) -> None:
    before = sorted(os.listdir(tmp_path))
    cutter.when_mapped(Path("X.npy"), SIZE)
    options = ("--row", "1") if arguments[0] == "explain" else ()
    assert_refused(crosshead(*arguments, pair, *options), tmp_path, before)
