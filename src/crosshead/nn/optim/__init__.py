"""Optimizers for row-sparse gradients, those that are zero but for some rows of a weight."""

from __future__ import annotations

from crosshead.nn.optim.row_sparse import RowSparseAdam, RowSparseSGD

__all__ = ["RowSparseAdam", "RowSparseSGD"]
