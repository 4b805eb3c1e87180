"""The classes of a head spread over processes: each holds some rows of W, and the states of its classes merge."""

from __future__ import annotations

from crosshead.nn.parallel.head import ClassParallelHead

__all__ = ["ClassParallelHead"]
