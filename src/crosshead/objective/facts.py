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
    ascends: bool
    program: bool

    @property
    def feature_bytes(self) -> int:
        """Of dense features."""
        return self.n_rows * self.n_features * self.itemsize
