"""Passes in bfloat16, with twice as many products per instruction, for the early iterations of a fit.

Features are rounded one block of rows at a time, as the kernels read them, so X is not copied. bfloat16 has the range
of float32 and 8 of its 24 significant bits: a pass evaluates F on slightly rounded features. Weights are rounded to the
same grid, so that value and gradient belong to one point. The last iterations use the features themselves, so the
optimum, ``tol`` and the certificate do not change.

Only subsampled rows with few classes are copied, because their passes are limited by memory bandwidth. If the features
are small multiples of one number, as pixels are, the copy is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from crosshead import _native
from crosshead.engines.data import TrainingData
from crosshead.engines.native_pass import native_pass
from crosshead.engines.protocol import PassSums
from crosshead.engines.row_subset import RowSubset
from crosshead.losses.protocol import Array, Float, PassLoss

PADDING = 32  # features per instruction
ROW_MULTIPLE = 16
SAMPLED_ROWS = 256
MIN_WORK = 1 << 27  # N·D·C below which bfloat16 does not pay
MIN_SAMPLE_WORK, SAMPLE_SHARE = 1 << 23, 0.2  # the copy has half as many bytes as its rows in X
MIN_CLASSES = 32  # with fewer, a pass is limited by reading X
ROUNDED_RESOLUTION = 1e-5  # relative, of F; measured on rounded pixels


@final
@dataclass(frozen=True)
class BFloat16Passes:
    """Passes over dense features in bfloat16, by the native kernels."""

    data: TrainingData
    features: Any
    threads: int
    instruction_set: str

    def on_grid(self, weight: Float) -> Float:
        """The nearest weights that bfloat16 can represent."""
        return to_bfloat16(weight)

    @property
    def resolution(self) -> float:
        """The relative accuracy of F that the rounding of the features leaves."""
        return ROUNDED_RESOLUTION

    def evaluate(self, weight: Float, bias: Float, loss: PassLoss) -> PassSums:
        """Run one pass at weights on the grid; others are rounded to it."""
        return native_pass(
            self.data, self.features, self.instruction_set, self.threads, weight, bias, loss, double_precision=False
        )


def to_bfloat16(values: Float) -> Float:
    """Round float64 values to the nearest bfloat16 (ties to even), as float64.

    Example:
        >>> to_bfloat16(np.array([1.0, 1.00390625, 1.01171875, -3.14159])).tolist()
        [1.0, 1.0, 1.015625, -3.140625]
    """
    bits = values.astype(np.float32).view(np.uint32)
    carry = bits >> np.uint32(16)  # in place from here: the array may be as large as X
    carry &= np.uint32(1)
    carry += np.uint32(0x7FFF)
    bits += carry
    bits &= np.uint32(0xFFFF0000)
    return np.asarray(bits.view(np.float32).astype(np.float64))


def bfloat16_passes(data: TrainingData, features: Any, instruction_set: str, threads: int) -> BFloat16Passes | None:
    """Passes that round dense features as they read them; None if the processor or the size rules them out."""
    if data.n_classes < MIN_CLASSES or data.n_rows * data.n_features * data.n_classes < MIN_WORK:
        return None
    if data.sparse or not _native.has_bfloat16(instruction_set):
        return None
    return _passes(data, _native.rounded_features(features, threads), instruction_set, threads)


def sample_passes(
    data: TrainingData, features: Any, instruction_set: str, threads: int, *, all_rows: int
) -> BFloat16Passes | None:
    """Passes over a bfloat16 copy of subsampled float32 rows, which repays itself over many passes.

    None if the processor does not support it, for too few rows to gain anything, and for more than `SAMPLE_SHARE` of
    ``all_rows``, to bound the memory. With many classes the rows are rounded as they are read, without a copy.
    """
    if data.features.dtype != np.float32 or data.n_rows * data.n_features * data.n_classes < MIN_SAMPLE_WORK:
        return None
    if data.sparse or not _native.has_bfloat16(instruction_set):
        return None
    if data.n_classes >= MIN_CLASSES:
        return _passes(data, _native.rounded_features(features, threads), instruction_set, threads)
    if data.n_rows > SAMPLE_SHARE * all_rows:
        return None
    return _passes(data, _copy(data, features, threads), instruction_set, threads)


def _passes(data: TrainingData, features: Any, instruction_set: str, threads: int) -> BFloat16Passes | None:
    return None if features is None else BFloat16Passes(data, features, threads, instruction_set)


def _copy(data: TrainingData, features: Any, threads: int) -> Any:
    """The features in bfloat16, as multiples of a unit if there is one; None if a number is too large."""
    stride = -(-data.n_features // PADDING) | 1  # odd, so that rows do not map to the same cache lines
    room = np.empty((-(-data.n_rows // ROW_MULTIPLE) * ROW_MULTIPLE, stride * PADDING), dtype=np.uint16)
    unit = common_unit(data.features)
    copy = None
    if unit is not None:  # the unit of a sample may not hold for all rows
        copy = _native.bfloat16_features(features, room, unit=unit, rounded=False, threads=threads)
    return copy or _native.bfloat16_features(features, room, unit=1.0, rounded=True, threads=threads)


def common_unit(features: Array | RowSubset) -> float | None:
    """A number of which all sampled features are multiples, at most 256 times; None if there is none.

    Pixels are multiples of 1 or 1/255, and bfloat16 holds all whole numbers up to 256.

    Example:
        >>> common_unit(np.array([[0.0, 128 / 255, 1.0]], dtype=np.float32)) == 1 / 255
        True
        >>> common_unit(np.array([[0.3, 0.7853, 1.0]])) is None
        True
    """
    sample = np.abs(features[:: max(1, features.shape[0] // SAMPLED_ROWS)].astype(np.float64))
    nonzero = sample[sample > 0]
    if not nonzero.size:
        return None
    for unit in (1.0, 1.0 / 255, float(nonzero.min())):
        multiple = nonzero / unit
        whole = np.rint(multiple)
        if whole.max() <= 256 and (np.abs(multiple - whole) <= 4e-7 * multiple).all():
            return unit
    return None
