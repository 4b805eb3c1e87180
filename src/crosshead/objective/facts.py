"""What is known of an objective before a fit begins: counts and kinds, of which a plan is made."""

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
    """An objective's size, storage and form. What follows from them is in `crosshead.solvers.costs`.

    * ``n_rows``, ``n_features``, ``n_classes``: N, D, C; ``itemsize``: bytes of a feature
    * ``sparse``: the features are CSR; ``labelled``: targets are classes, not probabilities
    * ``smooth``: the loss has a Lipschitz gradient; ``violations``: it is one of violations of
      margins, ``piecewise``: and piecewise linear
    * ``quadratic``: the loss has a second-order model of rows
    * ``couples``: a score's slope depends on other classes' scores
    * ``l1``, ``l2``: whether the penalty has either part
    * ``ascends``: the loss knows a row's best residuals, so that dual coordinate ascent can sweep over the rows;
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
    ascends: bool
    fast_sweeps: bool

    @property
    def n_parameters(self) -> int:
        """C·(D + 1)."""
        return self.n_classes * (self.n_features + 1)

    @property
    def feature_bytes(self) -> int:
        """Of dense features."""
        return self.n_rows * self.n_features * self.itemsize

    @property
    def traits(self) -> frozenset[Trait]:
        """What a method may need, in words."""
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
        if self.ascends:
            found.add("sweeps over rows")
        return frozenset(found)
