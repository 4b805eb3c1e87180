"""The data of the workloads, prepared once and kept as plain .npy files that every environment can read."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

CONDITION = 1e4  # of the synthetic embeddings' covariance
CLASS_SHARE = 0.02  # of the synthetic embeddings' variance, before colouring, that the classes explain

TFIDF_OPTIONS: dict[str, Any] = {"ngram_range": (1, 2), "min_df": 2, "sublinear_tf": True, "dtype": np.float32}


@dataclass(frozen=True)
class Rows:
    """Features (N, D) float32, dense or CSR, labels 0 … C − 1, and a line on how they came about."""

    features: Any
    labels: np.ndarray
    note: str

    @property
    def classes(self) -> int:
        """C."""
        return int(self.labels.max()) + 1


def mnist(data: Path, quick: bool, most: int = 60_000) -> Rows:
    """Pixels / 255 in reading order."""
    rows = min(most, 2000) if quick else most
    with np.load(data / "mnist.npz") as file:
        images, labels = file["X"][:rows], file["y"][:rows]
    return Rows(images.reshape(len(images), -1).astype(np.float32) / np.float32(255), labels, "pixels / 255, float32")


def mnist10k(data: Path, quick: bool) -> Rows:
    """The first 10,000 rows of MNIST."""
    return mnist(data, quick, 10_000)


def banking77(data: Path, quick: bool) -> Rows:
    """TF-IDF of the training questions."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    with gzip.open(data / "banking77_text.csv.gz", "rt", encoding="utf-8", newline="") as file:
        questions = [(row["text"], row["label"]) for row in csv.DictReader(file) if row["split"] == "train"]
    if quick:
        questions = questions[::6]
    _, labels = np.unique([label for _, label in questions], return_inverse=True)
    features = TfidfVectorizer(**TFIDF_OPTIONS).fit_transform([text for text, _ in questions])
    options = ", ".join(f"{name}={value}" for name, value in TFIDF_OPTIONS.items() if name != "dtype")
    return Rows(sparse.csr_matrix(features), labels, f"TfidfVectorizer({options}), rows of length 1, float32")


def faces(data: Path, quick: bool) -> Rows:
    """Grey pixels / 255, ten pictures a person."""
    from PIL import Image

    pixels, persons = [], []
    with zipfile.ZipFile(data / "orl_faces.zip") as archive:
        for name in sorted(entry for entry in archive.namelist() if entry.endswith(".png")):
            person = name.split("/")[-2]
            if quick and person > "s10":
                continue
            pixels.append(np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("L")).ravel())
            persons.append(person)
    _, labels = np.unique(persons, return_inverse=True)
    return Rows(np.asarray(pixels, dtype=np.float32) / np.float32(255), labels, "pixels / 255, float32")


def embeddings(data: Path, quick: bool) -> Rows:
    """Gaussian classes whose pooled covariance has condition number `CONDITION` exactly, up to rounding."""
    rows, features, classes = (2000, 64, 50) if quick else (50_000, 512, 1000)
    chance = np.random.default_rng(20240601)
    labels = np.concatenate([np.arange(classes), chance.integers(0, classes, rows - classes)])
    centres = chance.standard_normal((classes, features))
    x = np.sqrt(1 - CLASS_SHARE) * chance.standard_normal((rows, features)) + np.sqrt(CLASS_SHARE) * centres[labels]
    x -= x.mean(axis=0)
    whitening = np.linalg.inv(np.linalg.cholesky(x.T @ x / rows)).T
    directions, _ = np.linalg.qr(chance.standard_normal((features, features)))
    scale = np.sqrt(np.geomspace(1.0, 1.0 / CONDITION, features))
    x = (x @ (whitening * scale)) @ directions.T
    note = f"Gaussian classes, covariance with eigenvalues 1 … 1/{CONDITION:g} in random directions, float32"
    return Rows(x.astype(np.float32), labels, note)


@dataclass(frozen=True)
class Dataset:
    """How to make the rows, and the files that this needs."""

    make: Callable[[Path, bool], Rows]
    needs: tuple[str, ...] = ()


DATASETS = {
    "mnist": Dataset(mnist, ("mnist.npz",)),
    "mnist10k": Dataset(mnist10k, ("mnist.npz",)),
    "banking77": Dataset(banking77, ("banking77_text.csv.gz",)),
    "faces": Dataset(faces, ("orl_faces.zip",)),
    "embeddings": Dataset(embeddings),
}


def missing_of(dataset: Dataset, data: Path) -> Path | None:
    """The first file that the data set needs and that is not there."""
    return next((data / file for file in dataset.needs if not (data / file).is_file()), None)


def missing_file(name: str, data: Path) -> Path | None:
    """The same for a data set of this file, by its name."""
    return missing_of(DATASETS[name], data)


def prepare(name: str, data: Path, cache: Path, quick: bool) -> Path:
    """The folder with the data set as .npy files, made if it is not there yet."""
    return written(DATASETS[name], cache / (f"{name}-quick" if quick else name), data, quick=quick)


def written(dataset: Dataset, folder: Path, data: Path, *, quick: bool) -> Path:
    """The folder, with the data set in it."""
    if (folder / "info.json").is_file():
        return folder
    rows = dataset.make(data, quick)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "labels.npy", rows.labels.astype(np.int64))
    if sparse.issparse(rows.features):
        for part in ("data", "indices", "indptr"):
            np.save(folder / f"{part}.npy", getattr(rows.features, part))
    else:
        np.save(folder / "features.npy", np.ascontiguousarray(rows.features))
    info = {
        "rows": int(rows.features.shape[0]),
        "features": int(rows.features.shape[1]),
        "classes": rows.classes,
        "sparse": bool(sparse.issparse(rows.features)),
        "note": rows.note,
    }
    (folder / "info.json").write_text(json.dumps(info, indent=1))  # last: it says that the folder is complete
    return folder


def read_info(folder: Path) -> dict[str, Any]:
    """Shape and note of a prepared data set."""
    return dict(json.loads((folder / "info.json").read_text()))


def read_rows(folder: Path) -> tuple[Any, np.ndarray]:
    """Features, float32 and dense or CSR, and labels of a prepared data set."""
    labels = np.load(folder / "labels.npy")
    if (folder / "features.npy").is_file():
        return np.load(folder / "features.npy"), labels
    parts = tuple(np.load(folder / f"{part}.npy") for part in ("data", "indices", "indptr"))
    info = read_info(folder)
    return sparse.csr_matrix(parts, shape=(info["rows"], info["features"])), labels
