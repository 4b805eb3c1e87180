"""The facts about an objective, counts and properties, that determine the plan of a fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Trait = Literal[
    "a smooth loss",
    "a loss with kinks",
    "a piecewise linear loss",
    "a loss of violations",
    "an L1 part",
    "no L1 part",
    "an L2 part",
    "dense features",
    "sparse features",
    "sweeps over rows",
    "a second-order model of rows",
]


@dataclass(frozen=True)
class Facts:
    """Size, storage and form of an objective. `crosshead.solvers.costs` computes with them.

    * ``n_rows``, ``n_features``, ``n_classes``: N, D, C; ``itemsize``: bytes per feature
    * ``sparse``: the features are CSR; ``labelled``: targets are classes, not probabilities
    * ``smooth``: the loss has a Lipschitz gradient; ``violations``: it is one of violations of
      margins, ``piecewise``: and piecewise linear
    * ``quadratic``: the loss has a second-order model of rows
    * ``couples``: the gradient in one score depends on other scores
    * ``l1``, ``l2``: whether the penalty has either part
    * ``dual_steps``: the loss has a dual step for single rows, so that dual coordinate ascent can sweep over the rows;
      ``fast_sweeps``: whether the engine does so quickly
    """

    n_rows: int
    n_features: int
    n_classes: int
    itemsize: int
    sparse: bool
    labelled: bool
    smooth: bool
    quadratic: bool
    violations: bool
    piecewise: bool
    couples: bool
    l1: bool
    l2: bool
    dual_steps: bool
    fast_sweeps: bool

    @property
    def n_parameters(self) -> int:
        """C·(D + 1)."""
        return self.n_classes * (self.n_features + 1)

    @property
    def feature_bytes(self) -> int:
        """The size of dense features in bytes."""
        return self.n_rows * self.n_features * self.itemsize

    @property
    def traits(self) -> frozenset[Trait]:
        """The traits that methods may need."""
        found: set[Trait] = {"a smooth loss"} if self.smooth else {"a loss with kinks"}
        found.add("an L1 part" if self.l1 else "no L1 part")
        found.add("sparse features" if self.sparse else "dense features")
        if self.l2:
            found.add("an L2 part")
        if self.violations and self.labelled:
            found.add("a loss of violations")
        if self.piecewise and self.labelled:
            found.add("a piecewise linear loss")
        if self.quadratic:
            found.add("a second-order model of rows")
        if self.dual_steps:
            found.add("sweeps over rows")
        return frozenset(found)
