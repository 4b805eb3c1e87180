from __future__ import annotations

import csv
import io
import json
import tracemalloc

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image
from scipy.special import softmax

from crosshead.data import load
from crosshead.models import Model, scoring
from crosshead.scaling import Scaler


@pytest.fixture
def model(crosshead):
    crosshead("fit", "digits", "--scale", "maxabs", "--output", "m")
    return Model.load("m")


@pytest.fixture
def expected(model):
    scores = load("digits").features / 16 @ model.weight.T + model.bias
    return scores.argmax(axis=1), softmax(scores, axis=1)


def rows_of(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


def test_csv_on_stdout(crosshead, model, expected):
    result = crosshead("predict", "m", "digits")
    assert (result.code, result.err) == (0, "")
    header, *rows = rows_of(result.out)
    assert header == ["row", "predicted"]
    assert [int(row[0]) for row in rows] == list(range(1, 1798))
    assert [int(row[1]) for row in rows] == expected[0].tolist()


@pytest.mark.parametrize("block_bytes", [1 << 25, 1 << 14])
@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
def test_files_of_every_kind(crosshead, model, expected, monkeypatch, tmp_path, suffix, block_bytes):
    monkeypatch.setattr(scoring, "BLOCK_BYTES", block_bytes)
    name = f"out{suffix}"
    result = crosshead("predict", "m", "digits", "--proba", "--output", name)
    assert (result.code, result.out) == (0, "")
    assert result.err == f"crosshead: note: 1797 predictions written to {name}\n"
    numbers, predicted, proba = read(tmp_path / name)
    assert numbers.tolist() == list(range(1, 1798))
    np.testing.assert_array_equal(predicted, expected[0])
    np.testing.assert_allclose(proba, expected[1], rtol=1e-9, atol=1e-300)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", name]


def read(path):
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            assert archive["classes"].tolist() == list(range(10))
            return archive["row"], archive["predicted"], archive["proba"]
    if path.suffix == ".parquet":
        columns = pyarrow.parquet.read_table(path).to_pydict()
    else:
        header, *rows = rows_of(path.read_text())
        columns = dict(zip(header, zip(*[map(float, row) for row in rows], strict=True), strict=True))
    proba = np.array([columns[f"proba_{digit}"] for digit in range(10)]).T
    return np.array(columns["row"]), np.array(columns["predicted"]), proba


def test_json(crosshead, model, expected):
    document = json.loads(crosshead("predict", "m", "digits", "--proba", "--json").out)
    assert document["rows"] == len(document["predictions"]) == 1797
    first = document["predictions"][0]
    assert first["row"] == 1
    assert first["predicted"] == expected[0][0]
    assert first["probabilities"] == pytest.approx(expected[1][0].tolist())
    summary = json.loads(crosshead("predict", "m", "digits", "--output", "o.csv", "--json").out)
    assert summary == {"model": "m", "source": "digits", "rows": 1797, "output": "o.csv"}


def test_a_table_without_its_target_column(crosshead, flowers, tmp_path):
    crosshead("fit", flowers, "--target", "kind", "--output", "m")
    (tmp_path / "new.csv").write_text("width,colour,height\n5,red,0\n0,blue,5\n")
    result = crosshead("predict", "m", "new.csv")
    assert (result.code, result.err) == (0, "")
    assert result.out == "row,predicted\n1,lily\n2,rose\n"
    (tmp_path / "other.csv").write_text("width,colour\n5,red\n")
    refusal = crosshead("predict", "m", "other.csv")
    assert refusal.code == 2
    assert "column 'height', a feature in training, is missing" in refusal.line


def test_images_go_by_their_file_names(crosshead, tmp_path):
    for name, grey in (("dark", 20), ("light", 220)):
        (tmp_path / "shades" / name).mkdir(parents=True)
        for number in (1, 2):
            Image.new("L", (4, 4), grey + number).save(tmp_path / "shades" / name / f"{number}.png")
    crosshead("fit", "shades", "--scale", "maxabs", "--output", "m")
    (tmp_path / "new").mkdir()
    Image.new("L", (8, 8), 30).save(tmp_path / "new" / "a.png")
    Image.new("L", (6, 6), 200).save(tmp_path / "new" / "b.png")
    assert crosshead("predict", "m", "new").out == "file,predicted\na.png,dark\nb.png,light\n"
    assert crosshead("predict", "m", "new/b.png").out.splitlines()[1].endswith(",light")
    crosshead("predict", "m", "new", "--output", "o.npz")
    with np.load("o.npz", allow_pickle=False) as archive:
        assert archive["file"].tolist() == ["a.png", "b.png"]


def test_features_in_another_order_are_refused(crosshead, tmp_path, flowers):
    crosshead("fit", "iris", "--scale", "standard", "--output", "m")
    names = load("iris").feature_names
    (tmp_path / "i.csv").write_text(",".join(reversed(names)) + "\n1,2,3,4\n")
    result = crosshead("predict", "m", "i.csv")
    assert result.code == 2
    assert "feature 1 is 'petal width (cm)', but in training it was 'sepal length (cm)'" in result.line


def test_no_probabilities_of_a_hinge(crosshead):
    crosshead("fit", "iris", "--loss", "squared_hinge", "--scale", "standard", "--output", "m")
    result = crosshead("predict", "m", "iris", "--proba")
    assert result.code == 2
    assert "squared_hinge, which has no probabilities" in result.line
    assert "crosshead calibrate" in result.line


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("o.txt", "name a file that ends in"),
        ("none/o.csv", "there is no folder"),
        ("m.csv", "a folder is in the way"),
    ],
)
def test_where_predictions_cannot_go(crosshead, model, tmp_path, output, message):
    (tmp_path / "m.csv").mkdir()
    result = crosshead("predict", "m", "digits", "--output", output)
    assert result.code == 2
    assert message in result.line


def test_a_failed_run_leaves_the_old_file(crosshead, model, monkeypatch, tmp_path):
    (tmp_path / "o.csv").write_text("old")

    def fail(self, block):
        raise OSError(28, "No space left on device", "o.csv")

    monkeypatch.setattr("crosshead.cli.commands.predict.writers.CsvWriter.write", fail)
    assert crosshead("predict", "m", "digits", "--output", "o.csv").code == 1
    assert (tmp_path / "o.csv").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "o.csv"]


def test_the_test_rows_of_a_source(crosshead, blobs, tmp_path):
    X, y = blobs
    np.savez(tmp_path / "b.npz", X=X[:40], y=y[:40], Xt=X[40:], yt=y[40:])
    crosshead("fit", "b.npz", "--output", "m")
    result = crosshead("predict", "m", "b.npz")
    assert len(result.out.splitlines()) == 41
    assert "brings 20 test rows of its own" in result.err
    result = crosshead("predict", "m", "b.npz", "--test-rows")
    assert len(result.out.splitlines()) == 21
    assert "--test-rows" in crosshead("predict", "m", "iris", "--test-rows").line


def test_sparse_rows_for_a_model_with_means(crosshead, blobs, tmp_path):
    X, y = blobs
    np.savez(tmp_path / "b.npz", X=X, y=y)
    lines = [
        f"{label} " + " ".join(f"{column + 1}:{value!r}" for column, value in enumerate(row.tolist()))
        for row, label in zip(X, y.tolist(), strict=True)
    ]
    (tmp_path / "b.svm").write_text("\n".join(lines) + "\n")
    crosshead("fit", "b.npz", "--scale", "standard", "--output", "m")
    assert crosshead("predict", "m", "b.svm").out == crosshead("predict", "m", "b.npz").out


def test_memory_does_not_grow_with_rows_times_classes(crosshead, monkeypatch, tmp_path):
    n_rows, n_classes = 20_000, 400
    monkeypatch.setattr(scoring, "BLOCK_BYTES", 1 << 20)
    weight = np.random.default_rng(0).normal(size=(n_classes, 2))
    model = Model(weight, np.zeros(n_classes), np.arange(n_classes), "softmax", scaling=Scaler("none", 2))
    model.save(tmp_path / "wide")
    np.savez(tmp_path / "x.npz", X=np.ones((n_rows, 2), dtype=np.float32))
    tracemalloc.start()
    try:
        assert crosshead("predict", "wide", "x.npz", "--proba", "--output", "o.npz").code == 0
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    everything = n_rows * n_classes * 4
    assert (tmp_path / "o.npz").stat().st_size > everything
    assert peak < everything / 3


def test_scores_that_overflow_are_no_predictions(crosshead, tmp_path):
    """NaN in place of probabilities, and a class all the same, for features 1e300 times those of training."""
    generator = np.random.default_rng(0)
    X, y = generator.normal(size=(30, 2)) * 1e-8, np.arange(30) % 2
    np.savez(tmp_path / "small.npz", X=X, y=y)
    np.savez(tmp_path / "vast.npz", X=np.where(np.arange(30)[:, None] < 4, X, 1e305), y=y)
    assert crosshead("fit", "small.npz", "--scale", "standard", "--output", "m").code == 0
    for command in ("predict", "evaluate"):
        outcome = crosshead(command, "m", "vast.npz", *(["--output", "p.csv"] if command == "predict" else []))
        assert outcome.code == 2
        assert "the scores of row 5 are beyond float64: its features are far larger" in outcome.line
    assert not (tmp_path / "p.csv").exists()


def test_features_that_cannot_be_standardised(crosshead, tmp_path):
    np.savez(tmp_path / "vast.npz", X=np.eye(4) * 1e300, y=[0, 1, 0, 1])
    outcome = crosshead("fit", "vast.npz", "--scale", "standard")
    assert outcome.code == 2
    assert outcome.line.endswith("their squares overflow; choose maxabs scaling, which needs none")
    assert crosshead("fit", "vast.npz", "--scale", "maxabs", "--output", "m").code == 0
