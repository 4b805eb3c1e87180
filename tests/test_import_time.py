"""Importing is quick because little is imported; what is heavy comes when it is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import crosshead

HEAVY = {
    "torch",
    "pyarrow",
    "matplotlib",
    "jinja2",
    "sklearn",
    "pandas",
    "dask",
    "rich",
    "typer",
    "PIL",
    "joblib",
    "onnx",
    "onnxruntime",
}


def modules_after(statement: str, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    assert crosshead.__file__ is not None
    monkeypatch.setenv("PYTHONPATH", str(Path(crosshead.__file__).parents[1]))
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", statement], capture_output=True, text=True, check=True
    )
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}


@pytest.mark.parametrize(
    "statement", ["import crosshead", "import crosshead.losses", "import crosshead.engines", "import crosshead.data"]
)
def test_nothing_heavy_is_loaded(statement, monkeypatch):
    loaded = modules_after(statement, monkeypatch)
    assert "crosshead" in loaded
    assert not loaded & HEAVY


def test_the_check_sees_what_is_loaded(monkeypatch):
    assert "sklearn" in modules_after("import crosshead.linear", monkeypatch)


@pytest.mark.parametrize("name", [name for name in crosshead.__all__ if not name.startswith("__")])
def test_every_public_name_is_there(name):
    assert getattr(crosshead, name) is not None
    assert name in dir(crosshead)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'perceptron'"):
        _ = crosshead.perceptron
