"""What is known of an objective before a fit begins: counts and kinds, of which a plan is made."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Facts:
    """An objective's size, storage and form.

    * ``n_rows``, ``n_features``, ``n_classes``: N, D, C; ``itemsize``: bytes of a feature
    * ``sparse``: the features are CSR; ``small``: a Hessian costs next to nothing; ``wide``: there are more features
      than rows, or than a matrix of all pairs of them should have
    * ``smooth``: the loss has a Lipschitz gradient; ``l1``: whether the penalty has an L1 part
    * ``effective_rows``: (Σ sᵢ)²/Σ sᵢ², the rows that the weights leave
    * ``rarest_class``: the rows of the class that has fewest, of those that have any
    * ``ascends``: dual coordinate ascent is possible, and fast
    * ``program``: with kinks and an L1 part, a quadratic program of moderate size is the same problem
    """

    n_rows: int
    n_features: int
    n_classes: int
    itemsize: int
    sparse: bool
    small: bool
    wide: bool
    smooth: bool
    l1: bool
    effective_rows: float
    rarest_class: float
    ascends: bool
    program: bool

    @property
    def feature_bytes(self) -> int:
        """Of dense features."""
        return self.n_rows * self.n_features * self.itemsize
