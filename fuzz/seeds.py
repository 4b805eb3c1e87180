"""Honest files of every kind that crosshead reads, made by code: small, and the same bytes each time."""

from __future__ import annotations

import functools
import gzip
import io
import json
import os
import struct
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fuzz.edits import Files, write

ROWS, FEATURES, CLASSES = 12, 4, 3


@dataclass(frozen=True)
class Seed:
    """An honest case.

    * ``kind``: its name; ``group``: data, images, predictions, model or backbone, which says what reads it
    * ``files``: what is changed; ``source``: what a command is given to read them
    * ``beside``: what commands need besides and nobody changes: a model for data, data for a model
    """

    kind: str
    group: str
    files: Files
    source: str
    beside: Files = field(default_factory=dict)
    encoding: dict[str, Any] | None = None


Builder = Callable[[], Seed]
BUILDERS: dict[str, Builder] = {}
TORCH_KINDS = frozenset({"model-cnn"})


@functools.cache
def seed(kind: str) -> Seed:
    """The seed of a kind."""
    return BUILDERS[kind]()


def kinds() -> list[str]:
    """All kinds, in the order in which they are defined."""
    return list(BUILDERS)


def _kind(name: str) -> Callable[[Callable[[], Seed]], Callable[[], Seed]]:
    def register(builder: Builder) -> Builder:
        BUILDERS[name] = builder
        return builder

    return register


# ------------------------------------------------------------------------------------------------------------ numbers


def _rows() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    target = np.arange(ROWS) % CLASSES
    features = generator.normal(size=(ROWS, FEATURES)) + 3.0 * np.eye(CLASSES, FEATURES)[target]
    return np.round(features, 3), target


def _pixels(n_images: int = 6, side: int = 8, channels: int = 3) -> np.ndarray:
    shape = (n_images, side, side, channels)
    return np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8)


def _npy(values: Any, *, fortran: bool = False) -> bytes:
    stream = io.BytesIO()
    array = np.asarray(values)
    np.save(stream, np.asfortranarray(array) if fortran else array, allow_pickle=False)
    return stream.getvalue()


def _npz(*, packed: bool = False, **arrays: Any) -> bytes:
    """An archive without the time of day, so that it has the same bytes each time."""
    import zipfile

    stream = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, values in arrays.items():
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), _npy(values), method)
    return stream.getvalue()


def _packed(content: bytes) -> bytes:
    return gzip.compress(content, 6, mtime=0)


def _table(*, names: tuple[str, ...] = ("a", "b", "c", "d"), **more: Any) -> Any:
    import pyarrow

    X, y = _rows()
    columns: dict[str, Any] = {name: X[:, column] for column, name in enumerate(names)}
    columns["word"] = ["red", "green", "blue", "=1+1"] * (ROWS // 4)
    columns["flag"] = [True, False] * (ROWS // 2)
    columns["target"] = [f"class {label}" for label in y]
    return pyarrow.table(columns | more)


def _parquet(table: Any, **options: Any) -> bytes:
    from pyarrow import parquet

    sink = io.BytesIO()
    parquet.write_table(table, sink, **options)
    return sink.getvalue()


def _feather(table: Any) -> bytes:
    from pyarrow import feather

    sink = io.BytesIO()
    feather.write_feather(table, sink)
    return sink.getvalue()


def _stream(table: Any) -> bytes:
    from pyarrow import ipc

    sink = io.BytesIO()
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _picture(pixels: np.ndarray, form: str, **options: Any) -> bytes:
    from PIL import Image

    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, form, **options)
    return sink.getvalue()


# -------------------------------------------------------------------------------------------------- what lies beside


@contextmanager
def _laid_down(files: Files) -> Any:
    """The files in a folder of their own, which is the working folder meanwhile."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        write(files, Path(folder))
        os.chdir(folder)
        try:
            yield Path(folder)
        finally:
            os.chdir(before)


def _saved(model: Any) -> Files:
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model")
        return {f"model/{path.name}": path.read_bytes() for path in sorted((Path(folder) / "model").iterdir())}


def _model_of(data: Any, **fields: Any) -> Files:
    """A model folder for a data set, as `crosshead fit` writes it but with weights of no meaning."""
    from crosshead.models import Model

    generator = np.random.default_rng(3)
    classes = np.unique(data.target)
    history = {"passes": [1, 3], "seconds": [0.0, 0.001], "objective": [1.1, 0.5], "gap": [0.5, 1e-7]}
    told = {
        "source": "train.npz",
        "rows": data.n_rows,
        "objective": 0.5,
        "gap": 1e-7,
        "status": "converged",
        "iterations": 1,
        "passes": 3,
        "engine": "native",
        "split_from": None,
        "seconds": 0.001,
        "history": history,
    }
    made: dict[str, Any] = {
        "weight": generator.normal(size=(len(classes), data.n_features)).astype(data.features.dtype),
        "bias": generator.normal(size=len(classes)).astype(data.features.dtype),
        "classes": classes,
        "loss": "softmax",
        "encoding": data.encoding,
        "feature_names": data.feature_names,
        "hyperparameters": {
            "alpha": 1e-4,
            "fit_intercept": True,
            "l1_ratio": 0.0,
            "class_weight": None,
            "tol": 1e-6,
            "max_iter": 1000,
            "max_time": None,
            "seed": 0,
        },
        "training": told,
        "fingerprint": "0" * 64,
    }
    return _saved(Model(**made | fields))


def _of_data(kind: str, files: Files, source: str, group: str = "data", **options: Any) -> Seed:
    """A seed of data, with a model for them."""
    from crosshead.data import load

    with _laid_down(files):
        data = load(source, **options)
    return Seed(kind, group, files, source, _model_of(data), dict(data.encoding))


# ---------------------------------------------------------------------------------------------------------- data, npz


@_kind("npz")
def _dense() -> Seed:
    X, y = _rows()
    return _of_data("npz", {"train.npz": _npz(X=X, y=y)}, "train.npz")


@_kind("npz-test")
def _dense_with_test() -> Seed:
    X, y = _rows()
    content = _npz(packed=True, X=X.astype(np.float32), y=[f"c{label}" for label in y], Xt=X[:4], yt=["c0", "c1"] * 2)
    return _of_data("npz-test", {"train.npz": content}, "train.npz")


def _sparse(form: str) -> Seed:
    from scipy import sparse

    X, y = _rows()
    matrix = sparse.csr_array(np.where(np.abs(X) > 0.8, X, 0.0)).asformat(form)
    members: dict[str, Any] = {"format": form.encode(), "shape": matrix.shape, "data": matrix.data}
    if form in ("csr", "csc", "bsr"):
        members |= {"indices": matrix.indices, "indptr": matrix.indptr}
    elif form == "dia":
        members |= {"offsets": matrix.offsets}
    else:
        members |= {"row": matrix.coords[0], "col": matrix.coords[1]}
    # SciPy's own members, in the order in which it writes them, but without the time of day.
    files: Files = {"X.npz": _npz(packed=True, **members, _is_array=True), "y.npy": _npy(y)}
    return _of_data(f"sparse-{form}", files, "X.npz" if form in ("csr", "csc", "bsr") else "X.npz,y.npy")


for _form in ("csr", "csc", "bsr", "coo", "dia"):
    BUILDERS[f"sparse-{_form}"] = functools.partial(_sparse, _form)


# ---------------------------------------------------------------------------------------------------------- data, npy


@_kind("npy")
def _pair() -> Seed:
    X, y = _rows()
    return _of_data("npy", {"X.npy": _npy(X), "y.npy": _npy(y)}, "X.npy,y.npy")


@_kind("npy-odd")
def _odd_pair() -> Seed:
    """Big-endian numbers in Fortran order, four axes, boolean labels."""
    X, y = _rows()
    features = X.reshape(ROWS, 1, 2, 2).astype(">f4")
    return _of_data("npy-odd", {"X.npy": _npy(features, fortran=True), "y.npy": _npy(y > 0)}, "X.npy")


@_kind("npy-structured")
def _structured() -> Seed:
    """Refused as they are: a structured array, and one without an axis."""
    values = np.zeros(ROWS, dtype=[("a", "<f8"), ("b", "<i4", (2,)), ("c", "<U3")])
    return Seed("npy-structured", "data", {"X.npy": _npy(values), "y.npy": _npy(np.float64(3.0))}, "X.npy,y.npy")


# -------------------------------------------------------------------------------------------------------- data, tables


def _csv(mark: str = ",") -> bytes:
    X, y = _rows()
    words = ["red", "green", '"blue, light"', "grey"]
    lines = [mark.join(("a", "b", "c", "d", "word", "flag", "day", "target"))]
    for row in range(ROWS):
        cells = [*(f"{value}" for value in X[row]), words[row % 4], "true" if row % 2 else "false"]
        lines.append(mark.join([*cells, f"2024-01-{row + 1:02}", f"class {y[row]}"]))
    return ("\n".join(lines) + "\n").encode()


@_kind("csv")
def _comma() -> Seed:
    return _of_data("csv", {"train.csv": _csv()}, "train.csv", ignore=["day"])


@_kind("csv-number")
def _numbers() -> Seed:
    X, y = _rows()
    lines = ["a;b;c;d;y", *(";".join(map(str, [*X[row], y[row]])) for row in range(ROWS))]
    return _of_data("csv-number", {"train.csv": ("\r\n".join(lines) + "\r\n").encode()}, "train.csv")


@_kind("tsv")
def _tab() -> Seed:
    return _of_data("tsv", {"train.tsv": _csv("\t")}, "train.tsv", ignore=["day"])


@_kind("csv-gz")
def _packed_csv() -> Seed:
    return _of_data("csv-gz", {"train.csv.gz": _packed(_csv())}, "train.csv.gz", ignore=["day"])


@_kind("parquet")
def _parquet_table() -> Seed:
    return _of_data("parquet", {"train.parquet": _parquet(_table())}, "train.parquet")


@_kind("parquet-pandas")
def _pandas_table() -> Seed:
    """Dictionaries, dates, decimals, several row groups, and an index that pandas wrote along."""
    import decimal

    import pyarrow

    table = _table(
        day=pyarrow.array(range(ROWS), pyarrow.date32()),
        price=[decimal.Decimal(row) / 8 for row in range(ROWS)],
        kind=pyarrow.array(["x", "y"] * (ROWS // 2)).dictionary_encode(),
        __index_level_0__=list(range(ROWS)),
    ).replace_schema_metadata({"pandas": json.dumps({"index_columns": ["__index_level_0__"], "columns": []})})
    options = {"compression": "zstd", "row_group_size": 5}
    return _of_data("parquet-pandas", {"t.parquet": _parquet(table, **options)}, "t.parquet", ignore=["day"])


@_kind("feather")
def _feather_table() -> Seed:
    return _of_data("feather", {"train.feather": _feather(_table())}, "train.feather")


@_kind("arrow-stream")
def _arrow_stream() -> Seed:
    return _of_data("arrow-stream", {"train.arrow": _stream(_table())}, "train.arrow")


# -------------------------------------------------------------------------------------------------- data, svmlight, idx


def _svmlight_text() -> bytes:
    X, y = _rows()
    lines = ["# a comment"]
    for row in range(ROWS):
        pairs = " ".join(f"{column + 1}:{value}" for column, value in enumerate(X[row]) if abs(value) > 0.5)
        lines.append(f"{y[row]} qid:{row + 1} {pairs}")
    return ("\n".join(lines) + "\n").encode()


@_kind("svmlight")
def _svmlight() -> Seed:
    return _of_data("svmlight", {"train.svm": _svmlight_text()}, "train.svm")


@_kind("svmlight-gz")
def _packed_svmlight() -> Seed:
    return _of_data("svmlight-gz", {"train.svm.gz": _packed(_svmlight_text())}, "train.svm.gz")


def _idx_files(ending: str = "") -> Files:
    pixels, labels = _pixels(9, 4, 1)[..., 0], np.arange(9) % 3
    files: Files = {}
    for part, n_images in (("train", 9), ("t10k", 6)):
        images = struct.pack(">4I", 0x803, n_images, 4, 4) + pixels[:n_images].tobytes()
        named = struct.pack(">2I", 0x801, n_images) + labels[:n_images].astype(np.uint8).tobytes()
        for name, content in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", named)):
            files[f"{name}{ending}"] = _packed(content) if ending else content
    return files


@_kind("idx")
def _idx() -> Seed:
    return _of_data("idx", _idx_files(), "train-images-idx3-ubyte")


@_kind("idx-gz")
def _packed_idx() -> Seed:
    return _of_data("idx-gz", _idx_files(".gz"), "train-images-idx3-ubyte.gz")


# ------------------------------------------------------------------------------------------------------------- images


def _folder_of_images() -> Files:
    from PIL import Image

    pixels = _pixels()
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "turned"
    palette = Image.fromarray(pixels[4]).quantize(16)
    gif = io.BytesIO()
    palette.save(gif, "GIF", save_all=True, append_images=[palette, palette], transparency=0)
    deep = (pixels[5, :, :, 0].astype(np.uint16) + 3) * 257
    return {
        "images/cat/0.png": _picture(pixels[0], "PNG"),
        "images/cat/1.jpg": _picture(pixels[1], "JPEG", exif=exif),
        "images/cat/2.gif": gif.getvalue(),
        "images/cat/3.png": _picture(deep, "PNG"),
        "images/dog/0.bmp": _picture(pixels[2], "BMP"),
        "images/dog/1.webp": _picture(pixels[3], "WEBP", lossless=True),
        "images/dog/2.tif": _picture(pixels[4], "TIFF", compression="tiff_lzw"),
        "images/dog/3.ppm": _picture(pixels[5], "PPM"),
    }


@_kind("images")
def _images() -> Seed:
    return _of_data("images", _folder_of_images(), "images", "images", size=8)


@_kind("image-list")
def _image_list() -> Seed:
    pixels = _pixels()
    files: Files = {f"images/{number}.png": _picture(pixels[number], "PNG") for number in range(6)}
    lines = ["file_name,label,width", *(f"{number}.png,{'cat' if number % 2 else 'dog'},8" for number in range(6))]
    return _of_data(
        "image-list", {**files, "images/metadata.csv": ("\n".join(lines) + "\n").encode()}, "images", "images"
    )


@_kind("image-jsonl")
def _image_lines() -> Seed:
    pixels = _pixels()
    files: Files = {f"images/{number}.png": _picture(pixels[number], "PNG") for number in range(6)}
    lines = [json.dumps({"file_name": f"{number}.png", "label": number % 2, "tags": ["a"]}) for number in range(6)]
    content = ("\n".join(lines) + "\n").encode()
    return _of_data("image-jsonl", {**files, "images/metadata.jsonl": content}, "images", "images")


def _shard(rows: range) -> bytes:
    import pyarrow

    pixels = _pixels()
    struct_type = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    cells = [{"bytes": _picture(pixels[row], "PNG"), "path": f"{row}.png"} for row in rows]
    table = pyarrow.table({"image": pyarrow.array(cells, struct_type), "label": [row % 2 for row in rows]})
    names = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    return _parquet(table.replace_schema_metadata({"huggingface": json.dumps(names)}), row_group_size=2)


@_kind("image-shards")
def _shards() -> Seed:
    files: Files = {
        "shards/train-00000-of-00002.parquet": _shard(range(0, 2)),
        "shards/train-00001-of-00002.parquet": _shard(range(2, 4)),
        "shards/test-00000-of-00001.parquet": _shard(range(4, 6)),
    }
    return _of_data("image-shards", files, "shards", "images")


@_kind("image-parquet")
def _one_shard() -> Seed:
    return _of_data("image-parquet", {"images.parquet": _shard(range(6))}, "images.parquet", "images")


@_kind("image-npz")
def _image_archive() -> Seed:
    content = _npz(packed=True, X=_pixels(), y=np.arange(6) % 2)
    return _of_data("image-npz", {"images.npz": content}, "images.npz", "images")


# ------------------------------------------------------------------------------------------------- backbones, features


def network(side: int | str = 8, n_features: int = 5) -> bytes:
    """A small convolutional network in ONNX: 3×3 convolution, ReLU, mean over positions."""
    import onnx
    from onnx import helper

    generator = np.random.default_rng(4)
    kernels = generator.normal(size=(n_features, 3, 3, 3)).astype(np.float32)
    bias = generator.normal(size=n_features).astype(np.float32)
    floats = onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("Conv", ["images", "kernels", "bias"], ["conv"]),
        helper.make_node("Relu", ["conv"], ["maps"]),
        helper.make_node("GlobalAveragePool", ["maps"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["f"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("images", floats, ["n", 3, side, side])],
        [helper.make_tensor_value_info("f", floats, ["n", n_features])],
        [onnx.numpy_helper.from_array(kernels, "kernels"), onnx.numpy_helper.from_array(bias, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())


def _external_network() -> Files:
    """A network whose weights lie in a file beside it."""
    import onnx
    from onnx.external_data_helper import convert_model_to_external_data

    model = onnx.ModelProto.FromString(network())
    convert_model_to_external_data(model, location="net.onnx.data", size_threshold=0)
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(model, str(Path(folder) / "net.onnx"))
        return {name: (Path(folder) / name).read_bytes() for name in ("net.onnx", "net.onnx.data")}


OWN_JSON = {"size": [8, 8], "colours": "rgb", "crop": 0.9, "resample": "bicubic", "white": 1.0, "mean": [0.5, 0.4, 0.3]}
OWN_JSON |= {"std": 0.25, "layout": "nchw"}
THEIR_JSON = {
    "crop_size": {"height": 8, "width": 8},
    "do_center_crop": True,
    "do_normalize": True,
    "do_rescale": True,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.2, 0.2, 0.2],
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"shortest_edge": 9},
}


def _of_backbone(kind: str, files: Files) -> Seed:
    beside: Files = {"images.npz": _npz(packed=True, X=_pixels(), y=np.arange(6) % 2)}
    return Seed(kind, "backbone", files, "net.onnx", beside)


@_kind("onnx")
def _onnx() -> Seed:
    return _of_backbone("onnx", {"net.onnx": network()})


@_kind("onnx-external")
def _onnx_external() -> Seed:
    return _of_backbone("onnx-external", _external_network())


@_kind("onnx-own-json")
def _onnx_own() -> Seed:
    return _of_backbone("onnx-own-json", {"net.onnx": network("side"), "net.json": json.dumps(OWN_JSON).encode()})


@_kind("onnx-their-json")
def _onnx_theirs() -> Seed:
    content = json.dumps(THEIR_JSON).encode()
    return _of_backbone("onnx-their-json", {"net.onnx": network("side"), "preprocessor_config.json": content})


def _description() -> dict[str, Any]:
    """What a model remembers of the network, as if it lay in the working folder."""
    from crosshead.backbones import load_backbone

    with _laid_down({"net.onnx": network()}):
        described = dict(load_backbone("net.onnx").description)
    return {**described, "path": "net.onnx"} if "path" in described else described


def _features(kind: str, name: str) -> Seed:
    from crosshead.data.formats.feature_files import FeatureRows, write_archive, write_table

    generator = np.random.default_rng(5)
    features = generator.normal(size=(8, 5)).astype(np.float32)
    names = [f"{number}.png" for number in range(8)]
    parts = [
        FeatureRows(features[rows], names[rows], np.array(["cat", "dog"] * 4)[rows])
        for rows in (slice(0, 5), slice(5, 8))
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        (write_archive if name.endswith(".npz") else write_table)(path, *parts, _description())
        files: Files = {name: path.read_bytes()}
    return _of_data(kind, files, name)


@_kind("features-npz")
def _feature_archive() -> Seed:
    return _features("features-npz", "features.npz")


@_kind("features-parquet")
def _feature_table() -> Seed:
    return _features("features-parquet", "features.parquet")


# -------------------------------------------------------------------------------------------------------- predictions


def _probabilities() -> tuple[np.ndarray, list[str], list[str]]:
    X, y = _rows()
    outputs = np.exp(X[:, :CLASSES])
    outputs = np.round(outputs / outputs.sum(axis=1, keepdims=True), 6)
    outputs[:, -1] = 1.0 - outputs[:, :-1].sum(axis=1)
    classes = ["cat", "dog", "eel"]
    return outputs, classes, [classes[label] for label in y]


def _of_predictions(kind: str, files: Files, source: str, names: str | None = None) -> Seed:
    """A seed of predictions, with honest ones of the same rows beside them to compare with."""
    outputs, classes, labels = _probabilities()
    if kind == "predictions-npy":
        classes, labels = ["0", "1", "2"], [str(classes.index(label)) for label in labels]
    rows = [[*map(str, row), label] for row, label in zip(outputs.tolist(), labels, strict=True)]
    header = [*classes, "label"]
    if names is not None:
        header = [*header, names]
        rows = [[*row, str(at + 1) if names == "row" else f"{at}.png"] for at, row in enumerate(rows)]
    text = "".join(",".join(row) + "\n" for row in [header, *rows])
    return Seed(kind, "predictions", files, source, {"honest.csv": text.encode()})


@_kind("predictions-csv")
def _predictions_csv() -> Seed:
    outputs, classes, labels = _probabilities()
    lines = [",".join(["row", *(f"proba_{name}" for name in classes), "label"])]
    for row, (values, label) in enumerate(zip(outputs.tolist(), labels, strict=True)):
        lines.append(",".join([str(row + 1), *map(str, values), label]))
    return _of_predictions("predictions-csv", {"p.csv": ("\n".join(lines) + "\n").encode()}, "p.csv", "row")


@_kind("predictions-parquet")
def _predictions_parquet() -> Seed:
    import pyarrow

    outputs, classes, labels = _probabilities()
    columns = {f"probability_{name}": outputs[:, at] for at, name in enumerate(classes)}
    table = pyarrow.table({**columns, "label": labels, "file": [f"{row}.png" for row in range(ROWS)]})
    return _of_predictions("predictions-parquet", {"p.parquet": _parquet(table)}, "p.parquet", "file")


@_kind("predictions-npz")
def _predictions_npz() -> Seed:
    outputs, classes, labels = _probabilities()
    names = [f"{row}.png" for row in range(ROWS)]
    content = _npz(packed=True, proba=outputs, classes=classes, labels=labels, file=names)
    return _of_predictions("predictions-npz", {"p.npz": content}, "p.npz", "file")


@_kind("predictions-npy")
def _predictions_npy() -> Seed:
    outputs, _, _ = _probabilities()
    return _of_predictions("predictions-npy", {"p.npy": _npy(outputs), "y.npy": _npy(_rows()[1])}, "p.npy,y.npy")


@_kind("predictions-json")
def _predictions_json() -> Seed:
    outputs, classes, labels = _probabilities()
    rows = [
        {"row": row + 1, "predicted": label, "probabilities": values, "label": label}
        for row, (values, label) in enumerate(zip(outputs.tolist(), labels, strict=True))
    ]
    document = {"model": "model", "source": "d.npz", "classes": classes, "predictions": rows}
    return _of_predictions("predictions-json", {"p.json": json.dumps(document).encode()}, "p.json", "row")


@_kind("predictions-jsonl")
def _predictions_jsonl() -> Seed:
    outputs, classes, labels = _probabilities()
    rows = [
        {"scores": dict(zip(classes, values, strict=True)), "label": label}
        for values, label in zip(outputs.tolist(), labels, strict=True)
    ]
    return _of_predictions("predictions-jsonl", {"p.jsonl": "\n".join(map(json.dumps, rows)).encode()}, "p.jsonl")


# -------------------------------------------------------------------------------------------------------------- models


def _of_model(kind: str, data_kind: str, source: str | None = None, **fields: Any) -> Seed:
    """The model of a seed of data, to be changed, with the data beside it."""
    from crosshead.data import load

    data_seed = seed(data_kind)
    options: dict[str, Any] = {"size": 8} if data_kind == "images" else {}
    options |= {"ignore": ["day"]} if data_kind == "csv" else {}
    with _laid_down(data_seed.files):
        data = load(data_seed.source, **options)
    return Seed(kind, "model", _model_of(data, **fields), data_seed.source, dict(data_seed.files))


@_kind("model-array")
def _model_array() -> Seed:
    from crosshead.scaling import Scaler

    scaling = Scaler.from_dict(
        {"kind": "standard", "n_features": FEATURES, "centre": np.zeros(FEATURES), "scale": np.ones(FEATURES)}
    )
    return _of_model("model-array", "npz", scaling=scaling)


@_kind("model-hinge")
def _model_hinge() -> Seed:
    return _of_model("model-hinge", "npy-odd", loss="hinge", loss_parameters={"margin": 1.0})


@_kind("model-table")
def _model_table() -> Seed:
    return _of_model("model-table", "csv")


@_kind("model-text")
def _model_text() -> Seed:
    return _of_model("model-text", "svmlight", loss="squared_hinge")


@_kind("model-calibrated")
def _model_calibrated() -> Seed:
    calibration = {"source": "valid.npz", "rows": 12, "fingerprint": "1" * 64, "folds": 5, "seed": 0, "ece": 0.05}
    return _of_model("model-calibrated", "npz-test", temperature=1.7, calibration=calibration)


@_kind("model-images")
def _model_images() -> Seed:
    return _of_model("model-images", "images")


@_kind("model-features")
def _model_features() -> Seed:
    return _of_model("model-features", "features-npz")


@_kind("model-embedding")
def _model_embedding() -> Seed:
    """A model of features, given images: the network beside it makes their features."""
    made = _of_model("model-embedding", "features-npz")
    beside: Files = {
        "images.npz": _npz(packed=True, X=_pixels(), y=np.array(["cat", "dog"] * 3)),
        "net.onnx": network(),
    }
    return Seed("model-embedding", "model", made.files, "images.npz", beside)


@_kind("model-cnn")
def _model_cnn() -> Seed:
    """A model with a network of its own."""
    import hashlib

    import torch

    from crosshead.backbones.cnn_backbone import CnnBackbone, pixel_preprocessing
    from crosshead.data.dataset import Dataset
    from crosshead.data.formats.feature_files import BACKBONE, KIND
    from crosshead.nn.training.network import CNN

    torch.manual_seed(0)
    content = CNN((3, 8, 8), 2, widths=(4, 4)).to_bytes()
    stated = pixel_preprocessing({"size": [8, 8], "colours": "rgb", "crop": None, "resample": "bilinear"})
    backbone = CnnBackbone(Path("network.safetensors"), stated, content)
    described = dict(backbone.description)
    described |= {"path": "network.safetensors"} if "path" in described else {}
    assert described["fingerprint"] == hashlib.sha256(content).hexdigest()
    features = np.zeros((6, backbone.n_features), dtype=np.float32)
    encoding = {"kind": KIND, BACKBONE: described, "n_features": backbone.n_features}
    data = Dataset(features, np.array(["cat", "dog"] * 3), encoding=encoding)
    beside: Files = {"images.npz": _npz(packed=True, X=_pixels(), y=np.array(["cat", "dog"] * 3))}
    return Seed("model-cnn", "model", _model_of(data, network=content), "images.npz", beside)
