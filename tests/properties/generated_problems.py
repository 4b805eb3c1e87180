"""Problems that no method was tuned for, generated from seeds: for tests and for `benchmarks/robustness.py`.

`realistic` draws data of the kinds that people have, with settings from sensible to far out. `small` draws little
problems with columns of very different scale. The same seed gives the same problem.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from scipy import sparse

LOSSES = ("softmax", "binary", "hinge", "squared_hinge", "crammer_singer", "squared_error")
RATIOS = (0.0, 0.5, 1.0)
MAX_WORK = 1e8  # N·D·C
Rows = tuple[Any, Any]  # features (N, D) and labels (N,)


@dataclass(frozen=True, eq=False)
class GeneratedProblem:
    """Data and settings of one fit. ``target`` holds labels 0 … C − 1, each at least once; ``alpha`` is α, not αN."""

    kind: str
    seed: int
    X: Any
    target: Any
    weight: Any
    loss: str
    alpha: float
    l1_ratio: float
    fit_intercept: bool

    @property
    def n_classes(self) -> int:
        return int(self.target.max()) + 1

    @property
    def alpha_rows(self) -> float:
        """αN, by which a penalty's strength is judged."""
        return self.alpha * len(self.target)

    @property
    def weight_range(self) -> float:
        """The largest weight by the smallest; 1 without weights."""
        return 1.0 if self.weight is None else float(self.weight.max() / self.weight.min())

    @property
    def storage(self) -> str:
        if sparse.issparse(self.X):
            return f"{self.X.dtype} CSR"
        return f"{self.X.dtype} {'C' if self.X.flags.c_contiguous else 'F'}"

    @property
    def description(self) -> str:
        """The call that draws it again, and what it is."""
        call = f"small({self.seed})" if self.kind == "small" else f"realistic({self.kind!r}, {self.seed})"
        n, D = self.X.shape
        bias = "bias" if self.fit_intercept else "no bias"
        weights = "" if self.weight is None else f", weights within {self.weight_range:.0e}"
        return (
            f"{call}: {n}×{D}×{self.n_classes} {self.storage}, {self.loss}, αN={self.alpha_rows:.1e}, "
            f"ρ={self.l1_ratio:g}, {bias}{weights}"
        )


def realistic(kind: str, seed: int) -> GeneratedProblem:
    """A problem of one of `KINDS`; N ≤ 3000, D ≤ 700, αN from 1e-8 to 1e3."""
    random = np.random.default_rng([seed, list(KINDS).index(kind)])
    X, y = KINDS[kind](random)
    y = np.unique(y, return_inverse=True)[1].astype(np.int32)
    return GeneratedProblem(
        kind=kind,
        seed=seed,
        X=_stored(X, random),
        target=y,
        weight=_weights(len(y), random, some=0.12, wide=0.12),
        loss=str(random.choice(LOSSES)),
        alpha=float(10 ** random.uniform(-8, 3)) / len(y),
        l1_ratio=float(random.choice(RATIOS)),
        fit_intercept=bool(random.random() < 0.75),
    )


def small(seed: int) -> GeneratedProblem:
    """N ≤ 400, D ≤ 60, C ≤ 8, columns times 10^U(−3, 3), α = 10^U(−5, 0); a third has weights over six decades."""
    random = np.random.default_rng([seed, len(KINDS)])
    C = int(random.integers(2, 9))
    n, D = int(random.integers(max(C, 5), 401)), int(random.integers(1, 61))
    X, y = _clusters(random, n, D, C)
    X = X * 10 ** random.uniform(-3, 3, D)
    return GeneratedProblem(
        kind="small",
        seed=seed,
        X=X.astype(random.choice([np.float32, np.float64])),
        target=y.astype(np.int32),
        weight=_weights(n, random, some=0.0, wide=1 / 3),
        loss=str(random.choice(LOSSES)),
        alpha=float(10 ** random.uniform(-5, 0)),
        l1_ratio=float(random.choice(RATIOS)),
        fit_intercept=bool(random.random() < 0.5),
    )


def _weights(n: int, random: Generator, *, some: float, wide: float) -> Any:
    """No weights, uniform ones with probability ``some``, or ones over six decades with probability ``wide``."""
    drawn = random.random()
    if drawn < some:
        return random.uniform(0.1, 5, n)
    return 10 ** random.uniform(-3, 3, n) if drawn < some + wide else None


def _stored(X: Any, random: Generator) -> Any:
    """In float32 or float64; dense features in C order, sometimes in F order, seldom as CSR."""
    X = X.astype(random.choice([np.float32, np.float64]))
    drawn = random.random()
    if sparse.issparse(X):
        return X
    if drawn < 0.05:
        return sparse.csr_matrix(X)
    return np.asfortranarray(X) if drawn < 0.25 else np.ascontiguousarray(X)


def _labels(random: Generator, n: int, C: int, *, skew: float = 0.0) -> Any:
    """Labels (n,), each class at least once; with ``skew`` some classes have many more rows than others."""
    share = random.dirichlet(np.full(C, 1 / skew)) if skew else np.full(C, 1 / C)
    y = np.concatenate([np.arange(C), random.choice(C, n - C, p=share)])
    return random.permutation(y)


def _clusters(random: Generator, n: int, D: int, C: int, *, skew: float = 0.0) -> Rows:
    """Classes with means of their own in correlated features; the classes overlap little or much."""
    y = _labels(random, n, C, skew=skew)
    rank = max(1, min(D, int(random.integers(2, 20))))
    mixing = random.normal(size=(rank, D)) / np.sqrt(rank)
    means = 10 ** random.uniform(-1, 0.7) * random.normal(size=(C, D))
    X = means[y] / np.sqrt(min(D, 10)) + random.normal(size=(n, rank)) @ mixing + 0.3 * random.normal(size=(n, D))
    flipped = random.random(n) < random.choice([0.0, 0.0, 0.05, 0.2])
    y = np.where(flipped, random.permutation(y), y)
    y[:C] = np.arange(C)
    return X, y


def _sizes(random: Generator) -> tuple[int, int, int]:
    """N, D and C of an ordinary problem, log-uniform."""
    C = int(2 ** random.uniform(1, 4.4))
    return max(C, int(10 ** random.uniform(1.7, 3.47))), int(10 ** random.uniform(0.7, 2.3)), C


def _standardised(random: Generator) -> Rows:
    X, y = _clusters(random, *_sizes(random))
    return _unit_variance(X), y


def _unit_variance(X: Any) -> Any:
    size = X.std(axis=0)
    return (X - X.mean(axis=0)) / np.where(size > 0, size, 1)


def _pixels(random: Generator) -> Rows:
    """Blobs of light at places of the class, shifted; grey levels, with a frame that is always zero."""
    side, C, n = int(random.integers(8, 21)), int(random.integers(2, 11)), int(random.integers(100, 2001))
    y = _labels(random, n, C)
    at = np.arange(side)
    centres = random.uniform(2, side - 2, size=(C, 3, 2))[y] + random.normal(scale=0.7, size=(n, 3, 2))
    squares = [(at[None, None, :] - centres[:, :, k : k + 1]) ** 2 for k in range(2)]
    width = 2 * random.uniform(1, 2.5) ** 2
    light = np.exp(-(squares[0][:, :, :, None] + squares[1][:, :, None, :]) / width).sum(axis=1)
    light += random.normal(scale=0.1, size=light.shape)
    light = np.clip(light - 0.3, 0, 1)
    light[:, [0, -1], :] = light[:, :, [0, -1]] = 0
    levels = np.round(255 * light.reshape(n, -1))
    return levels / random.choice([1, 16, 255]), y


def _one_hot(random: Generator) -> Rows:
    """Categorical variables with a column for each level, some levels rare; dense, or CSR."""
    n, C = int(random.integers(100, 3001)), int(random.integers(2, 8))
    X, scores = [], random.gumbel(size=(n, C)) / random.uniform(0.5, 3)
    for levels in random.integers(2, 30, int(random.integers(2, 15))):
        level = random.choice(levels, n, p=random.dirichlet(np.full(levels, 0.5)))
        X.append(np.eye(levels)[level])
        scores += random.normal(size=(levels, C))[level]
    y = scores.argmax(axis=1)
    y[:C] = np.arange(C)
    dense = np.hstack(X)
    return (sparse.csr_matrix(dense) if random.random() < 0.5 else dense), y


def _tfidf(random: Generator) -> Rows:
    """Words of documents about topics, as CSR: frequencies by document frequencies, rows of unit length."""
    n, words, C = int(random.integers(100, 2001)), int(random.integers(100, 501)), int(random.integers(2, 21))
    y = _labels(random, n, C)
    common = 1 / (1 + random.permutation(words))
    topics = common * random.gamma(0.3, size=(C, words)) + 0.1 * common
    share = topics / topics.sum(axis=1, keepdims=True)
    lengths = random.integers(5, 80, n)
    counts = np.stack([random.multinomial(length, share[c]) for length, c in zip(lengths, y, strict=True)])
    inverse = np.log((1 + n) / (1 + (counts > 0).sum(axis=0))) + 1
    X = counts * inverse
    return sparse.csr_matrix(X / np.linalg.norm(X, axis=1, keepdims=True)), y


def _embeddings(random: Generator) -> Rows:
    n, C = int(random.integers(200, 2501)), int(random.integers(2, 41))
    X, y = _clusters(random, n, int(random.choice([32, 64, 128, 256, 384])), C)
    return X / np.linalg.norm(X, axis=1, keepdims=True), y


def _duplicated_columns(random: Generator) -> Rows:
    X, y = _clusters(random, *_sizes(random))
    return X[:, random.integers(0, X.shape[1], min(500, 2 * X.shape[1]))], y


def _constant_columns(random: Generator) -> Rows:
    X, y = _clusters(random, *_sizes(random))
    chosen = random.random(X.shape[1]) < 0.4
    X[:, chosen] = random.choice([0, 1, -7.5, 300], int(chosen.sum()))
    return X, y


def _collinear_columns(random: Generator) -> Rows:
    """Columns that are sums of others up to rounding, or up to noise far below them."""
    X, y = _clusters(random, *_sizes(random))
    more = min(X.shape[1], 200)
    sums = X @ random.normal(size=(X.shape[1], more))
    return np.hstack([X, sums + random.choice([0, 1e-6, 1e-3]) * random.normal(size=sums.shape)]), y


def _outlier_rows(random: Generator) -> Rows:
    X, y = _standardised(random)
    X[random.random(len(X)) < random.choice([0.002, 0.02])] *= 1e3
    X[random.integers(len(X))] *= 1e3
    return X, y


def _rare_classes(random: Generator) -> Rows:
    """Half of the classes have one to four rows each."""
    n, D, _ = _sizes(random)
    C = int(random.integers(4, 25))
    X, y = _clusters(random, max(n, 100), D, C)
    kept = np.ones(len(y), dtype=bool)
    for c in range(C // 2):
        kept[np.flatnonzero(y == c)[int(random.integers(1, 5)) :]] = False
    return X[kept], y[kept]


def _two_classes(random: Generator) -> Rows:
    n, D, _ = _sizes(random)
    return _clusters(random, n, D, 2, skew=float(random.choice([0.0, 3.0])))


def _many_classes(random: Generator) -> Rows:
    C, D = int(10 ** random.uniform(1.7, 2.7)), int(10 ** random.uniform(1.2, 2.3))
    n = int(min(random.integers(max(C, 300), 3001), MAX_WORK / (C * D)))
    return _clusters(random, max(n, C), D, C, skew=float(random.choice([0.0, 1.0])))


def _few_rows(random: Generator) -> Rows:
    """N ≪ D; with D from 512 on the problem is reduced to N features."""
    C = int(random.integers(2, 11))
    return _clusters(random, int(random.integers(max(C, 10), 121)), int(random.integers(250, 701)), C)


def _many_rows(random: Generator) -> Rows:
    return _clusters(random, int(random.integers(2000, 3001)), int(random.integers(2, 16)), int(random.integers(2, 11)))


def _mixed_scales(random: Generator) -> Rows:
    X, y = _clusters(random, *_sizes(random))
    return X * 10 ** random.uniform(-3, 3, X.shape[1]), y


def _conflicting_rows(random: Generator) -> Rows:
    """Each row several times, with labels that differ."""
    X, y = _clusters(random, *_sizes(random))
    chosen = random.integers(0, max(2, len(y) // 3), len(y))
    chosen[: y.max() + 1] = np.arange(y.max() + 1)
    return X[chosen], np.where(random.random(len(y)) < 0.3, random.permutation(y), y)


KINDS: dict[str, Callable[[Generator], Rows]] = {
    "standardised": _standardised,
    "pixels": _pixels,
    "one_hot": _one_hot,
    "tfidf": _tfidf,
    "embeddings": _embeddings,
    "duplicated_columns": _duplicated_columns,
    "constant_columns": _constant_columns,
    "collinear_columns": _collinear_columns,
    "outlier_rows": _outlier_rows,
    "rare_classes": _rare_classes,
    "two_classes": _two_classes,
    "many_classes": _many_classes,
    "few_rows": _few_rows,
    "many_rows": _many_rows,
    "mixed_scales": _mixed_scales,
    "conflicting_rows": _conflicting_rows,
}
