"""What is minimised: the workloads by name, and where their data comes from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One objective: F(W, b) = mean loss + α(ρ‖W‖₁ + (1 − ρ)/2·‖W‖²), bias unpenalised (or none).

    ``rows``, ``features``, ``classes`` and ``sparse`` are those of the data it is minimised on.
    """

    name: str
    loss: str
    alpha: float
    l1_ratio: float
    fit_intercept: bool
    rows: int
    features: int
    classes: int
    sparse: bool

    @property
    def smooth_penalty(self) -> bool:
        """Whether there is no L1 part."""
        return self.l1_ratio == 0

    @property
    def inverse_penalty(self) -> float:
        """scikit-learn's C: it minimises C·Σ loss + penalty."""
        return 1.0 / (self.alpha * self.rows)


@dataclass(frozen=True)
class Workload:
    """A problem before its data is known. The strength is ``alpha``, or ``alpha_rows`` / N."""

    name: str
    title: str
    dataset: str
    loss: str = "softmax"
    alpha: float | None = None
    alpha_rows: float = 1.0
    l1_ratio: float = 0.0
    fit_intercept: bool = True

    def problem(self, rows: int, features: int, classes: int, sparse: bool) -> Problem:
        """The problem on data of this shape."""
        alpha = self.alpha_rows / rows if self.alpha is None else self.alpha
        return Problem(self.name, self.loss, alpha, self.l1_ratio, self.fit_intercept, rows, features, classes, sparse)


# About 10 % of W is non-zero at this strength with L1; each run records the share it finds at the optimum
# (optima.json, and the report). The elastic net has the same strength.
MNIST_SPARSE_ALPHA = 1.6e-3

WORKLOADS = (
    Workload("mnist-hard", "MNIST, softmax, α = 1/N", "mnist"),
    Workload("mnist-easy", "MNIST, softmax, α = 100/N", "mnist", alpha_rows=100.0),
    Workload("mnist-l1", "MNIST, softmax, L1", "mnist", alpha=MNIST_SPARSE_ALPHA, l1_ratio=1.0),
    Workload("mnist-elastic-net", "MNIST, softmax, elastic net ½", "mnist", alpha=MNIST_SPARSE_ALPHA, l1_ratio=0.5),
    Workload("banking77", "BANKING77 TF-IDF (CSR), softmax, α = 1/N", "banking77"),
    Workload("faces", "ORL faces as pixels, softmax, α = 1/N", "faces"),
    Workload("embeddings-1000", "Synthetic embeddings, 1000 classes, softmax, α = 1/N", "embeddings"),
    Workload("mnist-squared-hinge", "MNIST, squared hinge, α = 1/N", "mnist", loss="squared_hinge"),
    Workload("mnist-weston-watkins", "MNIST, Weston–Watkins hinge, α = 100/N", "mnist", loss="hinge", alpha_rows=100.0),
    Workload(
        "mnist-crammer-singer",
        "MNIST, Crammer–Singer hinge, α = 100/N",
        "mnist",
        loss="crammer_singer",
        alpha_rows=100.0,
    ),
    Workload(
        "mnist10k-crammer-singer",
        "MNIST, first 10,000 rows, Crammer–Singer hinge without bias, α = 100/N",
        "mnist10k",
        loss="crammer_singer",
        alpha_rows=100.0,
        fit_intercept=False,
    ),
)
