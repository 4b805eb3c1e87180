"""How one pass over the data is computed. Every engine is tested against `reference` on the same cases."""

from __future__ import annotations

import importlib.util

from crosshead.engines.data import TrainingData
from crosshead.engines.protocol import Engine, PassSums
from crosshead.engines.reference import ReferenceEngine

__all__ = ["Engine", "PassSums", "ReferenceEngine", "TrainingData", "has_native", "make_engine"]

ENGINES = ("auto", "native", "reference")
PRECISIONS = ("auto", "full")


def has_native() -> bool:
    """Whether the C++ engine was built into this installation."""
    return importlib.util.find_spec("crosshead._native") is not None


def make_engine(name: str, data: TrainingData, n_threads: int | None = None, precision: str = "auto") -> Engine:
    """The engine called ``name`` on ``data``: "auto" is native where it was built, else reference.

    ``precision`` "auto" lets it offer bfloat16 passes where the processor has them and they pay; "full" does not.

    Raises ValueError for an unknown name or precision, or "native" where it was not built.
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
