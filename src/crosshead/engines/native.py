"""The native engine: C++ kernels (native/) that read the arrays without a copy.

Its reference implementation is `reference.py`; every test of engines runs on both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, final

import numpy as np

from crosshead import _native
from crosshead.data.memmap import check_mapped
from crosshead.engines.bfloat16 import BFloat16Passes, bfloat16_passes, sample_passes
from crosshead.engines.data import TrainingData
from crosshead.engines.dual_ascent import Ascent
from crosshead.engines.native_pass import native_move, native_pass, native_sums
from crosshead.engines.protocol import MovedSums, PassSums, ResidualMove
from crosshead.engines.row_subset import RowSubset
from crosshead.engines.threads import resolve_threads
from crosshead.losses.protocol import Array, Float, Loss, PassLoss


@final
@dataclass(frozen=True)
class NativeEngine:
    """Passes by the native kernels, on ``n_threads`` threads of the library's own pool.

    ``instruction_set`` is "" for the widest of this processor, or one of "plain", "avx2", "avx512", "avx512_bf16";
    ``precision`` "auto" allows bfloat16 passes where they are faster, "full" does not.
    Results are bitwise the same for any number of threads.
    """

    data: TrainingData
    n_threads: int | None = None
    instruction_set: str = ""
    precision: str = "auto"
    _features: Any = field(default=None, repr=False, compare=False)
    _inexact_passes: BFloat16Passes | None = field(default=None, init=False, repr=False, compare=False)
    _threads: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self._features is None:
            object.__setattr__(self, "_features", _handle(self.data.features))
        object.__setattr__(self, "_threads", resolve_threads(self.n_threads))

    @property
    def name(self) -> str:
        """The engine's name and instruction set."""
        return f"native ({self.instruction_set or _native.instruction_set()})"

    @cached_property
    def coarse(self) -> BFloat16Passes | None:
        """Passes in bfloat16, determined on first use; None if they are not available."""
        if self.precision == "full":
            return None
        return bfloat16_passes(self.data, self._features, self.instruction_set, self._threads)

    def over(self, data: TrainingData) -> NativeEngine:
        """Create the same engine over other rows."""
        return NativeEngine(data, self.n_threads, self.instruction_set, "full", self._handle_of(data.features))

    def inexact_over(self, data: TrainingData) -> NativeEngine:
        """Create the same engine over other rows, with products in bfloat16 where that is faster."""
        engine = self.over(data)
        if self.precision != "full":
            passes = sample_passes(
                data, engine._features, self.instruction_set, self._threads, all_rows=self.data.n_rows
            )
            object.__setattr__(engine, "_inexact_passes", passes)
        return engine

    def _handle_of(self, features: Any) -> Any:
        """The kernels' handle of features; rows of this engine's own features are not checked again."""
        if features is self.data.features:
            return self._features
        if isinstance(features, RowSubset) and features.features is self.data.features:
            return _native.chosen_rows(self._features, features.rows)
        return _handle(features)

    def evaluate(self, weight: Float, bias: Float, loss: PassLoss, *, exact: bool = True) -> PassSums:
        """Run one pass over the data; without ``exact``, float32 features are multiplied in float32."""
        if self._inexact_passes is not None and not exact:
            return self._inexact_passes.evaluate(weight, bias, loss)  # which rounds the weights to its grid
        double = exact or self.data.features.dtype == np.float64
        return native_pass(
            self.data, self._features, self.instruction_set, self._threads, weight, bias, loss, double_precision=double
        )

    def sum_scores(self, scores: Array, bias: Float, loss: PassLoss) -> PassSums:
        """Compute the sums at given scores (N, C) + b, in their dtype; no features are read."""
        return native_sums(self.data, self._features, self.instruction_set, self._threads, scores, bias, loss)

    def move_residuals(
        self, move: ResidualMove, weight: Float, bias: Float, loss: Loss, *, exact: bool = True
    ) -> MovedSums:
        """Update residuals in one pass, in place; without ``exact``, float32 features are multiplied in float32."""
        double = exact or self.data.features.dtype == np.float64
        return native_move(
            self.data, self._features, self.instruction_set, self._threads, move, weight, bias, loss,
            double_precision=double,
        )  # fmt: skip

    def scores(self, weight: Float, bias: Float, first: int, last: int, *, exact: bool = False) -> Array:
        """Scores of rows first … last − 1, in the dtype of the features unless ``exact``."""
        out = np.empty((last - first, bias.shape[0]), dtype=np.float64 if exact else self.data.features.dtype)
        weight, bias = np.ascontiguousarray(weight), np.ascontiguousarray(bias)
        _native.scores(self.instruction_set, self._features, first, last, weight, bias, self._threads, out)
        check_mapped(self.data.features)
        return out

    def gram(self, features: Array | RowSubset, row_weight: Float) -> Float:
        """Σ vᵢ xᵢ xᵢᵀ in the dtype of the features, (D, D)."""
        out = np.empty((features.shape[1], features.shape[1]))
        _native.gram(
            isa=self.instruction_set,
            features=self._handle_of(features),
            sample_weight=np.ascontiguousarray(row_weight, dtype=np.float64),
            double_precision=features.dtype == np.float64,
            threads=self._threads,
            out=out,
        )
        check_mapped(features)
        return out

    @property
    def fast_sweeps(self) -> bool:
        """True: the native kernel is fast."""
        return True

    def ascend(self, ascent: Ascent, sweeps: int) -> None:
        """Run sweeps of dual coordinate ascent in the dtype of the features, on one thread."""
        name, (margin, _, label_smoothing) = ascent.loss.kernel
        rows = ascent.data.target.ndim == 2
        largest = _native.ascend(
            isa=self.instruction_set,
            features=self._features,
            labels=None if rows else ascent.data.target,
            soft_target=np.ascontiguousarray(ascent.data.target, dtype=np.float64) if rows else None,
            share=ascent.share,
            squares=ascent.squares,
            loss=name,
            margin=margin,
            label_smoothing=label_smoothing,
            l2=ascent.l2,
            bias_step=ascent.bias_step,
            weight=ascent.weight,
            bias=ascent.bias,
            residual=ascent.residual,
            pause=ascent.pause,
            waiting=ascent.waiting,
            order=ascent.order,
            still=ascent.still,
            sweeps=sweeps,
            seed=ascent.sweeps,
        )
        check_mapped(ascent.data.features)
        ascent.count(sweeps, largest)


def _handle(features: Any) -> Any:
    if isinstance(features, RowSubset):
        return _native.chosen_rows(_handle(features.features), features.rows)
    if isinstance(features, np.ndarray):
        # Unaligned numbers, as some files have them, are copied: processors may refuse them.
        return _native.dense_features(np.require(features, requirements="A"))
    indices, starts = features.indices, features.indptr
    if indices.dtype != starts.dtype:
        indices, starts = indices.astype(np.int64), starts.astype(np.int64)
    values, indices, starts = (np.require(part, requirements="A") for part in (features.data, indices, starts))
    return _native.csr_features(values, indices, starts, features.shape[1])
