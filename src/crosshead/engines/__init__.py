"""Engines compute the sums over the rows that training needs. Each is tested against `reference` on the same cases."""

from __future__ import annotations

import importlib.util

from crosshead.engines.data import TrainingData
from crosshead.engines.protocol import Engine, PassSums
from crosshead.engines.reference import ReferenceEngine

__all__ = ["Engine", "PassSums", "ReferenceEngine", "TrainingData", "has_native", "make_engine"]

ENGINES = ("auto", "native", "reference")
PRECISIONS = ("auto", "full")


def has_native() -> bool:
    """Whether this installation has the C++ engine.

    Examples
    --------
    >>> has_native() in (True, False)
    True
    """
    return importlib.util.find_spec("crosshead._native") is not None


def make_engine(name: str, data: TrainingData, n_threads: int | None = None, precision: str = "auto") -> Engine:
    """Create an engine by name.

    Parameters
    ----------
    name : {"auto", "native", "reference"}
        "auto" is "native" if the C++ extension is available, else "reference".
    data : TrainingData
        The rows that the sums run over.
    n_threads : int or None, default=None
        None means OMP_NUM_THREADS, or the CPUs that this process may use; −1 is all CPUs.
    precision : {"auto", "full"}, default="auto"
        "auto" allows bfloat16 in the first passes if the processor supports it and it is faster.

    Raises
    ------
    ValueError
        For an unknown name or precision, or "native" without the C++ extension.

    Examples
    --------
    >>> import numpy as np
    >>> data = TrainingData(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([0, 1], dtype=np.int32), 2)
    >>> make_engine("reference", data).scores(np.eye(2), np.zeros(2), 0, 2).tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}: choose one of {', '.join(PRECISIONS)}")
    if name not in ENGINES:
        raise ValueError(f"unknown engine {name!r}: choose one of {', '.join(ENGINES)}")
    if name == "reference" or (name == "auto" and not has_native()):
        return ReferenceEngine(data, n_threads)
    if not has_native():
        raise ValueError(
            "the native engine was not built into this installation: install a C++ compiler and reinstall "
            "crosshead, or use engine='auto'"
        )
    from crosshead.engines.native import NativeEngine

    return NativeEngine(data, n_threads, precision=precision)
