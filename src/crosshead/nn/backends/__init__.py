"""What computes a fused loss: C++ kernels, Triton kernels, or PyTorch operations; and which of them a problem gets.

Of a linear layer and its loss:

* `triton_tiles`: Triton kernels, for tensors on an NVIDIA GPU
* `native_tiles`: C++ kernels, for tensors on the CPU
* `tiles`: the reference implementation in PyTorch operations, for any device and any problem

Of given scores: `native_scores`, C++ on the CPU, and `scores`, the reference implementation.
"""

from __future__ import annotations

import os
from functools import lru_cache
from importlib.util import find_spec

from torch import Tensor

from crosshead.nn.backends import native_scores, native_tiles, scores, tiles
from crosshead.nn.backends.projections import Projection
from crosshead.nn.backends.protocol import Backend, Problem, ScoreBackend
from crosshead.nn.row_losses.protocol import RowLoss, Targets


def backend_for(loss: RowLoss, projection: Projection, problem: Problem) -> Backend:
    """The fastest backend that supports this loss, projection and problem."""
    if problem.input.is_cuda and has_triton():
        from crosshead.nn.backends import triton_tiles  # heavy and optional: Triton

        if triton_tiles.supports(loss, projection, problem):
            return triton_tiles
    return native_tiles if native_tiles.supports(loss, projection, problem) else tiles


def score_backend_for(loss: RowLoss, given: Tensor, targets: Targets) -> ScoreBackend:
    """The fastest backend that supports this loss of these scores (N, C)."""
    return native_scores if native_scores.supports(loss, given, targets) else scores


@lru_cache(maxsize=1)
def has_triton() -> bool:
    """Whether Triton, part of PyTorch's builds for CUDA, is installed, and not turned off by CROSSHEAD_TRITON=0."""
    return os.environ.get("CROSSHEAD_TRITON") != "0" and find_spec("triton") is not None


__all__ = ["Backend", "Problem", "ScoreBackend", "backend_for", "has_triton", "score_backend_for"]
