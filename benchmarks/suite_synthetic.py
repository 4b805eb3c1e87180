"""Data that the suite makes from random numbers: documents, categories, and classes with a known covariance."""

from __future__ import annotations

import hashlib

import numpy as np
from scipy import sparse


def chance_of(name: str) -> np.random.Generator:
    """The random numbers of a data set: its name is the seed."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little"))


def labels_of(chance: np.random.Generator, rows: int, classes: int) -> np.ndarray:
    """Every class at least once; frequencies that differ by up to about ten."""
    share = np.exp(chance.uniform(0.0, 2.3, classes))
    rest = chance.choice(classes, rows - classes, p=share / share.sum())
    return chance.permutation(np.concatenate([np.arange(classes), rest]))


def decay(features: int, spectrum: str) -> np.ndarray:
    """Eigenvalues of the covariance, largest first: "flat", "power:1", "geometric:1e6" or "low:50" (then 1e-4)."""
    kind, _, value = spectrum.partition(":")
    if kind == "flat":
        return np.ones(features)
    if kind == "power":
        return np.arange(1.0, features + 1) ** -float(value)
    if kind == "geometric":
        return np.geomspace(1.0, 1.0 / float(value), features)
    if kind == "low":
        return np.where(np.arange(features) < int(value), 1.0, 1e-4)
    raise ValueError(f"no spectrum {spectrum!r}")


def gaussian(
    name: str, rows: int, features: int, classes: int, spectrum: str, separation: float
) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian classes in random directions; centres are ``separation`` times as long as the noise."""
    chance = chance_of(name)
    labels = labels_of(chance, rows, classes)
    scale = np.sqrt(decay(features, spectrum)).astype(np.float32)
    centres = chance.standard_normal((classes, features), dtype=np.float32) * np.float32(separation)
    x = (chance.standard_normal((rows, features), dtype=np.float32) + centres[labels]) * scale
    if features > 2000:  # turning that many columns would take minutes, and a permutation hides their order too
        return np.ascontiguousarray(x[:, chance.permutation(features)]), labels
    directions, _ = np.linalg.qr(chance.standard_normal((features, features)))
    return x @ directions.astype(np.float32), labels


def documents(
    name: str, rows: int, words: int, classes: int, length: float, topicality: float
) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Word counts (N, V): Zipf frequencies, which each class changes word by word; lengths are log-normal."""
    chance = chance_of(name)
    labels = labels_of(chance, rows, classes)
    common = 1.0 / (np.arange(words) + 2.7)
    lengths = np.maximum(1, chance.lognormal(np.log(length), 0.7, rows)).astype(np.int64)
    row = np.repeat(np.arange(rows), lengths)
    column = np.empty(len(row), dtype=np.int64)
    for label in range(classes):
        frequency = np.cumsum(common * np.exp(topicality * chance.standard_normal(words)))
        places = np.flatnonzero(labels[row] == label)
        drawn = np.searchsorted(frequency, chance.random(len(places)) * frequency[-1])
        column[places] = np.minimum(drawn, words - 1)
    counts = sparse.coo_matrix((np.ones(len(row), np.float32), (row, column)), shape=(rows, words)).tocsr()
    often = np.diff(counts.tocsc().indptr) >= 2
    return sparse.csr_matrix(counts[:, np.flatnonzero(often)]), labels


def weighted(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    """TF-IDF: (1 + log n)·(log((1 + N)/(1 + n_w)) + 1), rows of length one."""
    found = counts.astype(np.float64)
    frequency = np.bincount(found.indices, minlength=found.shape[1])
    found.data = (1 + np.log(found.data)) * (np.log((1 + found.shape[0]) / (1 + frequency)) + 1)[found.indices]
    lengths = np.sqrt(np.asarray(found.multiply(found).sum(axis=1)).ravel())
    found.data /= np.repeat(np.where(lengths > 0, lengths, 1), np.diff(found.indptr))
    return sparse.csr_matrix(found, dtype=np.float32)


def categories(name: str, rows: int, sizes: tuple[int, ...], classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns (N, k) of categories with Zipf frequencies, and labels drawn from a linear model of them."""
    chance = chance_of(name)
    columns, scores = [], np.zeros((rows, classes))
    for size in sizes:
        share = 1.0 / (np.arange(size) + 1.0)
        column = chance.choice(size, rows, p=share / share.sum())
        scores += chance.standard_normal((size, classes))[column]
        columns.append(column)
    labels = (scores + chance.gumbel(size=scores.shape)).argmax(axis=1)
    labels[:classes] = np.arange(classes)
    return np.stack(columns, axis=1), labels
