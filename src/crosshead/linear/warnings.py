"""The warning of a fit that has no certificate."""

from __future__ import annotations

from sklearn.exceptions import ConvergenceWarning as SklearnConvergenceWarning


class ConvergenceWarning(SklearnConvergenceWarning):
    """A fit ended before its relative duality gap reached ``tol``. The message carries the gap and the reason."""
