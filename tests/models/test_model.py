"""Model folders: what comes back, what is refused, and what a killed run leaves."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from crosshead.models import Model, ModelError
from crosshead.scaling import Scaler


def make(classes: Any = ("no", "yes", "ähm"), **changes: Any) -> Model:
    generator = np.random.default_rng(0)
    fields: dict[str, Any] = {
        "weight": generator.normal(size=(len(classes), 4)),
        "bias": generator.normal(size=len(classes)),
        "classes": np.array(classes),
        "loss": "hinge",
        "loss_parameters": {"margin": 1.0},
        "scaling": Scaler.fit("standard", generator.normal(size=(9, 4))),
        "encoding": {"kind": "array", "n_features": 4},
        "feature_names": ["a", "b", "c|d", "e\nf"],
        "hyperparameters": {"alpha": 1e-4, "l1_ratio": 0.0},
        "training": {"objective": np.float64(0.5), "gap": np.float32(0.25), "rows": np.int64(9)},
        "fingerprint": "f" * 64,
    }
    return Model(**(fields | changes))


@pytest.mark.parametrize(
    "classes", [("no", "yes", "ähm"), (3, -1, 10**12), (True, False), ("1", "2"), ("a\x01|b", " ", "\udcff")]
)
def test_round_trip(tmp_path: Path, classes: Any) -> None:
    model = make(classes)
    model.save(tmp_path / "deep" / "model")
    again = Model.load(tmp_path / "deep" / "model")
    np.testing.assert_array_equal(again.weight, model.weight)
    np.testing.assert_array_equal(again.bias, model.bias)
    assert again.classes.tolist() == list(classes)
    assert again.classes.dtype.kind == model.classes.dtype.kind
    for name in ("loss", "loss_parameters", "encoding", "feature_names", "hyperparameters", "fingerprint"):
        assert getattr(again, name) == getattr(model, name)
    assert again.training == {"objective": 0.5, "gap": 0.25, "rows": 9}
    features = np.random.default_rng(2).normal(size=(3, 4))
    np.testing.assert_array_equal(again.scaling.apply(features), model.scaling.apply(features))
    assert sorted(os.listdir(tmp_path / "deep" / "model")) == ["README.md", "model.json", "model.safetensors"]
    assert os.listdir(tmp_path / "deep") == ["model"]


@pytest.mark.parametrize("scaling", [Scaler(), Scaler.fit("maxabs", np.ones((2, 4)) * 255)])
def test_other_scalings_and_float32(tmp_path: Path, scaling: Scaler) -> None:
    model = make(scaling=scaling, weight=np.ones((3, 4), dtype=np.float32))
    model.save(tmp_path / "m")
    again = Model.load(tmp_path / "m")
    assert again.weight.dtype == np.float32
    assert again.scaling.kind == scaling.kind
    np.testing.assert_array_equal(again.scaling.scale, scaling.scale)


def test_memory_layout_does_not_matter(tmp_path: Path) -> None:
    weight = np.arange(12.0).reshape(3, 4)
    for layout in (np.asfortranarray(weight), weight[::-1][::-1], weight.astype(">f8")):
        make(weight=layout).save(tmp_path / "m")
        np.testing.assert_array_equal(Model.load(tmp_path / "m").weight, weight)


def test_the_files_are_readable_without_crosshead(tmp_path: Path) -> None:
    model = make()
    model.save(tmp_path / "m")
    tensors = load_file(tmp_path / "m" / "model.safetensors")
    np.testing.assert_array_equal(tensors["weight"], model.weight)
    assert set(tensors) == {"weight", "bias", "scaling.centre", "scaling.scale"}
    document = json.loads((tmp_path / "m" / "model.json").read_text())
    assert document["schema_version"] == 1
    assert document["classes"] == {"type": "str", "values": ["no", "yes", "ähm"]}
    assert document["library_versions"]["numpy"] == np.__version__
    card = (tmp_path / "m" / "README.md").read_text()
    for text in ("3 classes", "hinge", ("| margin" in card and "margin") or "loss: margin", "ähm", "0.0001"):
        assert text in card


def test_numbers_that_are_not_finite_are_saved_as_null(tmp_path: Path) -> None:
    make(training={"gap": float("inf"), "nested": [np.nan, Path("x")]}).save(tmp_path / "m")
    assert Model.load(tmp_path / "m").training == {"gap": None, "nested": [None, "x"]}


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("name", ["model.safetensors", "model.json"])
@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "gone"])
def test_damaged_files_are_refused(tmp_path: Path, name: str, damage: str) -> None:
    make().save(tmp_path / "m")
    path = tmp_path / "m" / name
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "flip":
        position = content.index(b"hinge") if name == "model.json" else len(content) - 5
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
    else:
        path.write_bytes(content[: len(content) // 2 if damage == "cut" else 0])
    with pytest.raises(ModelError, match=rf"m: {name} ") as caught:
        Model.load(tmp_path / "m")
    assert "\n" not in str(caught.value)


def reseal(folder: Path, **changes: Any) -> None:
    """Change model.json and make its checksums agree, as a careful forger would."""
    import hashlib

    document = json.loads((folder / "model.json").read_text())
    document |= changes
    document["weights_sha256"] = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    del document["document_sha256"]
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"))
    document["document_sha256"] = hashlib.sha256(canonical.encode()).hexdigest()
    (folder / "model.json").write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 4}, "schema version 4, this crosshead reads 1 to 3"),
        ({"format": "other"}, "does not describe a crosshead model"),
        ({"n_features": 5}, r"encoding\.n_features is 4, not that of 5 features"),
        ({"n_features": "4"}, "n_features is '4', not a whole number"),
        ({"feature_names": ["a"]}, "1 feature names for 4 features"),
        ({"classes": {"type": "str", "values": ["a", "b"]}}, r"weight has shape \(3, 4\)"),
        ({"classes": {"type": "str", "values": ["a", "b", "b"]}}, "classes must be distinct"),
        (
            {"classes": {"type": "object", "values": ["a", "b", "c"]}},
            r"classes\.type is 'object', not one of int, bool, str",
        ),
        ({"classes": {"type": "int", "values": ["a", "b", "c"]}}, r"classes\.values\[0\] is 'a', not a whole number"),
        ({"scaling": {"kind": "minmax"}}, r"scaling\.kind is 'minmax', not one of none, standard, maxabs"),
        ({"scaling": {"kind": "none"}}, "the scale has shape"),
        ({"loss": 3}, "loss is 3, not an object"),
    ],
)
def test_contradicting_documents_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    make().save(tmp_path / "m")
    reseal(tmp_path / "m", **changes)
    with pytest.raises(ModelError, match=message):
        Model.load(tmp_path / "m")


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"bias": np.zeros(2)}, r"bias has shape \(2,\), expected \(3,\)"),
        ({"weight": np.full((3, 4), np.nan)}, "weight holds NaN"),
        ({"bias": np.array([0, np.inf, 0])}, "bias holds NaN or infinite"),
        ({"weight": np.ones((3, 4), dtype=np.int64)}, "weight is int64, expected float32 or float64"),
        ({"weight": None}, "holds no 'weight'"),
        ({"scaling.scale": np.zeros(4)}, "not positive"),
        ({"scaling.scale": np.ones(3)}, r"the scale has shape \(3,\)"),
        ({"scaling.centre": np.ones(3)}, r"the centre has shape \(3,\)"),
    ],
)
def test_contradicting_arrays_are_refused(tmp_path: Path, tensors: dict[str, Any], message: str) -> None:
    make().save(tmp_path / "m")
    path = tmp_path / "m" / "model.safetensors"
    changed = {**load_file(path), **tensors}
    save_file({name: values for name, values in changed.items() if values is not None}, path)
    reseal(tmp_path / "m")
    with pytest.raises(ModelError, match=message):
        Model.load(tmp_path / "m")


def test_pickles_are_never_read(tmp_path: Path) -> None:
    make().save(tmp_path / "m")
    import pickle

    (tmp_path / "m" / "model.safetensors").write_bytes(pickle.dumps({"weight": 1}))
    reseal(tmp_path / "m")
    with pytest.raises(ModelError, match=r"model\.safetensors is not a safetensors file"):
        Model.load(tmp_path / "m")


def test_a_model_that_contradicts_itself_is_not_saved(tmp_path: Path) -> None:
    for changes in (
        {"bias": np.zeros(2)},
        {"weight": np.full((3, 4), np.inf)},
        {"classes": np.array([0.5, 1, 2])},
    ):
        with pytest.raises(ModelError):
            make(**changes).save(tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_absent_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="none: no such model folder"):
        Model.load(tmp_path / "none")


def test_a_temperature_comes_back_and_is_a_version_of_its_own(tmp_path: Path) -> None:
    make(temperature=1.75, calibration={"rows": 12, "source": "b.csv"}).save(tmp_path / "m")
    again = Model.load(tmp_path / "m")
    assert (again.temperature, again.calibration) == (1.75, {"rows": 12, "source": "b.csv"})
    document = json.loads((tmp_path / "m" / "model.json").read_text())
    assert document["schema_version"] == 2  # an older reader would ignore the temperature: it must refuse
    card = (tmp_path / "m" / "README.md").read_text()
    assert "| `temperature` | 1.75 |" in card
    assert "softmax((W x + b) / T)" in card
    make().save(tmp_path / "plain")
    assert json.loads((tmp_path / "plain" / "model.json").read_text())["schema_version"] == 1
    assert Model.load(tmp_path / "plain").temperature is None


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_that_is_none(tmp_path: Path, temperature: float) -> None:
    with pytest.raises(ModelError, match=r"the temperature is .*; it must be positive and finite"):
        make(temperature=temperature).save(tmp_path / "m")


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, "\x00\xff", '{"format": ' + "9" * 5000 + "}"])
def test_a_mangled_document_is_no_model(tmp_path: Path, content: str) -> None:
    make().save(tmp_path / "m")
    (tmp_path / "m" / "model.json").write_text(content, encoding="latin-1")
    with pytest.raises(ModelError, match=r"model\.json is not JSON \(.*\); it was altered or cut short$"):
        Model.load(tmp_path / "m")
