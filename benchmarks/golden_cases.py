"""The problems of the golden traces: made by code from seeds, so that they need no files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy import sparse
from sklearn import datasets


@dataclass(frozen=True)
class Case:
    """One problem. ``data`` names a data set of scikit-learn, or is "N×D×C" for a synthetic one.

    * ``strength``: αN; paths and folds go down from 100 times as much to it
    * ``storage``: "C", "F" or "csr", and 32 or 64; ``columns``: "unit" variance, "raw", or "mixed" over six decades
    * ``weight``: "none", "some" or "wide", over six decades; ``target``: "labels", or "soft" rows of probabilities
    * ``kinds``: of "fit", "path" and "cv", what is recorded
    """

    name: str
    data: str
    loss: str
    strength: float = 1.0
    l1_ratio: float = 0.0
    intercept: bool = True
    storage: str = "C32"
    columns: str = "unit"
    weight: str = "none"
    target: str = "labels"
    tol: float = 1e-4
    kinds: tuple[str, ...] = ("fit", "path", "cv")

    @property
    def alpha(self) -> float:
        return self.strength / len(rows_of(self.data)[1])

    def rows(self) -> tuple[Any, Any, Any]:
        """Features, targets and weights or None."""
        X, y = rows_of(self.data)
        random = np.random.default_rng(1)
        if self.columns != "raw":
            size = X.std(axis=0)
            X = (X - X.mean(axis=0)) / np.where(size > 0, size, 1)
        if self.columns == "mixed":
            X = X * 10 ** random.uniform(-3, 3, X.shape[1])
        X = X.astype(np.float32 if self.storage.endswith("32") else np.float64)
        if self.storage.startswith("csr"):
            X = sparse.csr_matrix(X)
        else:
            X = np.asfortranarray(X) if self.storage.startswith("F") else np.ascontiguousarray(X)
        weight = {"none": None, "some": random.uniform(0.1, 5, len(y)), "wide": 10 ** random.uniform(-3, 3, len(y))}
        target = y
        if self.target == "soft":
            target = 0.7 * np.eye(int(y.max()) + 1)[y] + 0.3 * random.dirichlet(np.ones(int(y.max()) + 1), len(y))
        return X, target, weight[self.weight]


@cache
def rows_of(data: str) -> tuple[Any, Any]:
    """Features (N, D) in float64, and labels."""
    if "×" not in data:
        X, y = getattr(datasets, f"load_{data}")(return_X_y=True)
        return X, y
    if data.startswith("text "):
        return _text(*(int(size) for size in data.removeprefix("text ").split("×")))
    return _clusters(*(int(size) for size in data.split("×")))


def _clusters(n: int, D: int, C: int) -> tuple[Any, Any]:
    """Classes that overlap, in correlated features, in turn so that every fold has each of them."""
    random = np.random.default_rng([n, D, C])
    y = np.arange(n) % C
    mixing = random.normal(size=(min(D, 12), D))
    X = 1.5 * random.normal(size=(C, D))[y] / np.sqrt(min(D, 10))
    return X + random.normal(size=(n, len(mixing))) @ mixing / 4 + random.normal(size=(n, D)), y


def _text(n: int, words: int, C: int) -> tuple[Any, Any]:
    """Rows of few numbers that are not zero, of unit length: to be stored as CSR, with raw columns."""
    random = np.random.default_rng([n, words, C])
    y = np.arange(n) % C
    common = 1 / (1 + random.permutation(words))
    topics = common * random.gamma(0.3, size=(C, words)) + 0.1 * common
    counts = np.stack([random.multinomial(25, topics[c] / topics[c].sum()) for c in y]).astype(np.float64)
    return counts / np.linalg.norm(counts, axis=1, keepdims=True), y


FIT, FIT_AND_PATH = ("fit",), ("fit", "path")  # where more would take long

CASES = (
    # Few parameters.
    Case("iris-softmax", "iris", "softmax"),
    Case("iris-hinge", "iris", "hinge"),
    Case("iris-crammer-singer-l1", "iris", "crammer_singer", l1_ratio=1.0),
    Case("iris-squared-hinge-raw", "iris", "squared_hinge", columns="raw", storage="F64", tol=1e-8),
    Case("iris-binary-soft-net", "iris", "binary", target="soft", l1_ratio=0.5),
    Case("iris-softmax-tight", "iris", "softmax", strength=1e-3, storage="C64", tol=1e-10),
    Case("wine-softmax-soft", "wine", "softmax", target="soft", storage="C64"),
    Case("wine-squared-error", "wine", "squared_error", columns="raw", intercept=False),
    Case("wine-hinge-mixed", "wine", "hinge", columns="mixed", weight="wide"),
    Case("wine-crammer-singer", "wine", "crammer_singer", strength=1e-2, intercept=False),
    Case("wine-binary-l1", "wine", "binary", l1_ratio=1.0, storage="F32"),
    Case("wine-softmax-raw-l1", "wine", "softmax", l1_ratio=1.0, columns="raw"),
    Case("cancer-softmax", "breast_cancer", "softmax", storage="F64"),
    Case("cancer-softmax-raw", "breast_cancer", "softmax", columns="raw"),
    Case("cancer-hinge-net", "breast_cancer", "hinge", l1_ratio=0.5, weight="some"),
    Case("cancer-crammer-singer-raw", "breast_cancer", "crammer_singer", columns="raw"),
    Case("cancer-squared-hinge-l1", "breast_cancer", "squared_hinge", l1_ratio=1.0, storage="csr64"),
    Case("cancer-binary-weak", "breast_cancer", "binary", strength=1e-4, weight="wide"),
    # Ten classes of 64 pixels.
    Case("digits-softmax", "digits", "softmax", columns="raw"),
    Case("digits-softmax-64", "digits", "softmax", storage="C64", tol=1e-8),
    Case("digits-softmax-f", "digits", "softmax", storage="F32", intercept=False),
    Case("digits-softmax-csr", "digits", "softmax", storage="csr32", columns="raw"),
    Case("digits-softmax-mixed", "digits", "softmax", columns="mixed", storage="C64", kinds=FIT_AND_PATH),
    Case("digits-softmax-weak", "digits", "softmax", strength=1e-4, kinds=FIT_AND_PATH),
    Case("mixed-softmax", "600×24×12", "softmax", columns="mixed"),
    Case("mixed-softmax-l1", "300×20×6", "softmax", columns="mixed", l1_ratio=1.0, strength=3.0),
    Case("digits-softmax-l1", "digits", "softmax", l1_ratio=1.0),
    Case("digits-softmax-net", "digits", "softmax", l1_ratio=0.5, weight="some", storage="F32"),
    Case("digits-softmax-mixed-l1", "digits", "softmax", strength=30.0, l1_ratio=1.0, columns="mixed", kinds=FIT),
    Case("digits-softmax-soft", "digits", "softmax", target="soft", weight="some"),
    Case("digits-binary", "digits", "binary"),
    Case("digits-binary-mixed", "digits", "binary", columns="mixed", kinds=FIT_AND_PATH),
    Case("digits-binary-net", "digits", "binary", l1_ratio=0.5, intercept=False),
    Case("digits-squared-hinge", "digits", "squared_hinge", weight="wide", kinds=FIT_AND_PATH),
    Case("digits-squared-hinge-l1", "digits", "squared_hinge", l1_ratio=1.0, kinds=FIT_AND_PATH),
    Case("digits-squared-error", "digits", "squared_error", columns="raw", storage="F64"),
    Case("digits-squared-error-l1", "digits", "squared_error", l1_ratio=1.0),
    Case("digits-squared-error-soft", "digits", "squared_error", target="soft", intercept=False),
    Case("digits-hinge", "digits", "hinge", strength=10.0),
    Case("digits-hinge-weak", "digits", "hinge", strength=0.1, columns="raw", kinds=FIT_AND_PATH),
    Case("digits-hinge-csr", "digits", "hinge", strength=10.0, storage="csr32", columns="raw", kinds=FIT_AND_PATH),
    Case("digits-hinge-f", "digits", "hinge", strength=10.0, storage="F32", kinds=FIT),
    Case("hinge-l1", "400×20×10", "hinge", l1_ratio=1.0),
    Case("digits-crammer-singer", "digits", "crammer_singer", strength=10.0),
    Case("digits-crammer-singer-weak", "digits", "crammer_singer", strength=0.1, intercept=False),
    Case("digits-crammer-singer-weights", "digits", "crammer_singer", strength=10.0, weight="wide"),
    Case("crammer-singer-net", "400×20×10", "crammer_singer", l1_ratio=0.5, intercept=False),
    # Sparse rows.
    Case("text-softmax", "text 1500×400×12", "softmax", storage="csr32", columns="raw"),
    Case("text-binary-weak", "text 1500×400×12", "binary", storage="csr64", columns="raw", strength=1e-2),
    Case("text-squared-hinge", "text 1500×400×12", "squared_hinge", storage="csr32", columns="raw"),
    Case("text-squared-error", "text 800×300×5", "squared_error", storage="csr32", columns="raw", intercept=False),
    Case("text-hinge", "text 1500×400×12", "hinge", storage="csr32", columns="raw"),
    Case("text-softmax-l1", "text 800×1000×5", "softmax", storage="csr32", columns="raw", l1_ratio=1.0, strength=0.3),
    # Many rows, many features, many classes.
    Case("large-softmax", "5000×200×20", "softmax", kinds=FIT_AND_PATH),
    Case("large-softmax-l1", "5000×200×20", "softmax", l1_ratio=1.0, strength=50.0, kinds=FIT_AND_PATH),
    Case("large-hinge", "3000×100×20", "hinge", strength=50.0, kinds=FIT_AND_PATH),
    Case("large-hinge-l1", "800×160×20", "hinge", l1_ratio=1.0, strength=20.0, tol=1e-2, kinds=FIT),
    Case("wide-softmax", "60×700×4", "softmax"),
    Case("wide-softmax-l1", "100×400×5", "softmax", l1_ratio=1.0),
    Case("wide-binary-net", "100×400×5", "binary", l1_ratio=0.5, storage="C64"),
    Case("wide-hinge", "60×700×4", "hinge", storage="F32"),
    Case("classes-softmax", "1500×40×300", "softmax", kinds=FIT_AND_PATH),
    Case("classes-softmax-l1", "900×30×300", "softmax", l1_ratio=0.5, kinds=FIT),
    Case("classes-crammer-singer", "900×30×300", "crammer_singer", strength=30.0, kinds=FIT),
    Case("tiny-hinge", "7×3×2", "hinge", storage="C64"),
    Case("tiny-softmax-l1", "9×2×3", "softmax", l1_ratio=1.0, intercept=False),
)
