"""Documents that a forger signed: each value of an honest one is taken out or becomes another type of JSON.

Whatever is loaded must be usable by every command; all else is a ModelError.
"""

from __future__ import annotations

import copy
import io
import json
import os
import random
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crosshead.cli.main import main
from crosshead.cli.report_page import commands_for, training_of
from crosshead.data.formats.json_text import DEEPEST, too_deep
from crosshead.explain.linear_heads import head_of
from crosshead.models import Model, ModelError
from crosshead.models.card import model_card
from crosshead.models.json_document import document_digest

SAMPLE = int(os.environ.get("CROSSHEAD_DOCUMENTS", "40"))  # of the documents of each kind; 0 is all of them
OTHERS: list[Any] = [
    None,
    True,
    0,
    -1,
    10**30,
    1.5,
    1e308,
    "",
    "word",
    "\ud800",
    [],
    [[]],
    {},
    {"kind": "array"},
    [None],
]
BACKBONE = {
    "kind": "onnx",
    "path": "/a/net.onnx",
    "output": None,
    "fingerprint": "f" * 64,
    "batch_size": 64,
    "preprocessing": {
        "size": [9, 7],
        "colours": "rgb",
        "crop": 0.875,
        "resample": "bilinear",
        "white": 1.0,
        "mean": [0.5, 0.25, 0.125],
        "std": [0.5],
        "layout": "nchw",
    },
}
COLUMNS = [
    {"name": "age", "kind": "number"},
    {"name": "member", "kind": "boolean"},
    {"name": "hue", "kind": "category", "categories": ["blue", "red"]},
    {"name": "v", "kind": "vector", "length": 2},
]
ENCODINGS: dict[str, dict[str, Any]] = {
    "none": {},
    "array": {"kind": "array", "shape": [2, 3], "n_features": 6},
    "images": {"kind": "images", "size": [1, 2], "mode": "RGB", "shape": [1, 2, 3], "resample": "bilinear"},
    "table": {"kind": "table", "target": "y", "target_type": "str", "columns": COLUMNS, "n_features": 6},
    "svmlight": {"kind": "svmlight", "first_index": 1, "n_features": 6},
    "embedding": {"kind": "embedding", "backbone": BACKBONE, "n_features": 6},
    "cnn": {"kind": "embedding", "backbone": {**BACKBONE, "kind": "cnn", "network": {"widths": [8, 16]}}},
}
HISTORY = {"passes": [1, 2], "seconds": [0.1, 0.2], "objective": [1.0, 0.5], "gap": [None, 0.1]}


def honest(kind: str) -> Model:
    return Model(
        np.random.default_rng(1).normal(size=(2, 6)),
        np.zeros(2),
        np.array(["no", "yes"]),
        "hinge",
        {"margin": 1.0},
        encoding=ENCODINGS[kind],
        hyperparameters={
            **{"alpha": 1e-4, "fit_intercept": True, "l1_ratio": 0.0, "class_weight": {"no": 2.0}, "tol": 1e-4},
            **{"max_iter": 10, "max_time": None, "seed": 0},
        },
        training={
            **{"source": "a.csv", "rows": 9, "objective": 0.5, "gap": 0.1, "status": "converged", "iterations": 1},
            **{"passes": 2, "engine": "reference", "split_from": "e" * 64, "seconds": 0.2, "history": HISTORY},
        },
        fingerprint="f" * 64,
        temperature=1.5,
        calibration={
            "source": "b.csv",
            "rows": 5,
            "fingerprint": "a",
            "source_fingerprint": "b",
            "folds": 5,
            "seed": 0,
        },
    )


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if way:
        yield way
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*way, key))


def mutants(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for *way, last in places(document):
        if last == "document_sha256":
            continue
        for other in [*OTHERS, places]:  # the function stands for nothing at all
            changed = copy.deepcopy(document)
            inner: Any = changed
            for key in way:
                inner = inner[key]
            if other is places:
                del inner[last]
            else:
                inner[last] = other
            yield changed


def sign(document: dict[str, Any], folder: Path) -> None:
    document["document_sha256"] = document_digest(document)
    (folder / "model.json").write_bytes(json.dumps(document).encode())


def use(model: Model, folder: Path) -> None:
    """What commands do with a model; `predict` and `export` as the commands themselves."""
    model_card(json.loads((folder / "model.json").read_bytes()))
    training_of(model)
    commands_for(model, "a.csv", "m", None)
    head_of(model)
    model.save(folder.with_name("again"))
    sources = {"table": "rows.csv", "svmlight": "rows.svm", "images": "picture.png"}
    source = str(folder.with_name(sources.get(model.encoding.get("kind", "array"), "rows.npz")))
    for words in (["describe", str(folder)], ["predict", str(folder), source, "--json"]):
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()) as errors:  # which take any letter
            code = main(words)
        said = errors.getvalue()
        assert code in (0, 2), said
        assert "unexpected" not in said
        assert said.count("\n") <= 3
    if model.encoding.get("kind") != "embedding":
        assert code == 0 or source.endswith((".csv", ".svm")), said  # which may have other columns


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    from PIL import Image

    np.savez(tmp_path / "rows.npz", X=np.eye(6))
    (tmp_path / "rows.csv").write_text("age,member,hue\n1,true,red\n2,false,blue\n")
    (tmp_path / "rows.svm").write_text("1 1:0.5 6:2\n0 2:1\n")
    Image.new("RGB", (2, 1)).save(tmp_path / "picture.png")
    return tmp_path / "m"


@pytest.mark.parametrize("kind", ENCODINGS)
def test_forged_documents_are_refused_or_usable(folder: Path, kind: str) -> None:
    honest(kind).save(folder)
    Model.load(folder)
    document = json.loads((folder / "model.json").read_bytes())
    everything = list(mutants(document))
    chosen = random.Random(0).sample(everything, SAMPLE) if SAMPLE else everything
    loaded = 0
    for changed in chosen:
        sign(changed, folder)
        try:
            model = Model.load(folder)
        except ModelError:
            continue
        loaded += 1
        use(model, folder)
    assert loaded < len(chosen) / 4


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b'{"a": -Infinity}', "-Infinity is not a JSON number"),
        (b'{"a": 1, "a": 2}', "a name occurs twice"),
        (b'{"a": ' + b"[" * 40 + b"]" * 40 + b"}", "brackets are nested too deep"),
        (b'{"a": ' + b'{"a":' * 900 + b"1" + b"}" * 901, "brackets are nested too deep"),
    ],
)
def test_what_is_no_json_of_ours(folder: Path, content: bytes, said: str) -> None:
    honest("array").save(folder)
    (folder / "model.json").write_bytes(content)
    with pytest.raises(ModelError, match=rf"model\.json is not JSON \({said}"):
        Model.load(folder)


def test_depth() -> None:
    nested: Any = 1
    for _ in range(DEEPEST):
        nested = [nested]
    assert not too_deep(nested[0])
    assert too_deep([nested])


@pytest.mark.parametrize("file", ["model.json", "model.safetensors"])
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_and_devices_are_not_read(folder: Path, file: str) -> None:
    honest("array").save(folder)
    (folder / file).unlink()
    os.mkfifo(folder / file)
    with pytest.raises(
        ModelError, match=rf"{file} is missing or unreadable \(not a file but a folder, pipe or device\)"
    ):
        Model.load(folder)
    (folder / file).unlink()
    (folder / file).symlink_to("/dev/zero")
    with pytest.raises(ModelError, match="not a file but a folder, pipe or device"):
        Model.load(folder)
    if file == "model.json":  # nor is such a folder taken for a model of ours when it is to be replaced
        with pytest.raises(ModelError, match="holds something else than a model"):
            honest("array").save(folder)


def test_a_document_without_end_is_not_read(folder: Path) -> None:
    honest("array").save(folder)
    with (folder / "model.json").open("r+b") as stream:
        stream.truncate(1 << 40)  # a file of zeros that takes no room on the disk
    with pytest.raises(ModelError, match=r"more than 67\.11 MB"):
        Model.load(folder)
