"""Bootstrap intervals in one reading of the rows, in memory that does not grow with rows × resamples.

Up to `GROUPS` rows this is the ordinary bootstrap (Efron, Annals of Statistics 7, 1979): each resample draws N of the N
rows with replacement. Above that, rows are first dealt at random into `GROUPS` groups, and groups are drawn in place
of rows; what is kept is one sum a group. With g groups that changes the width of an interval by a share of about
1/√(2g), 0.3 %, which is less than the noise of 1000 resamples.

Both the dealing and the draws come from counter-based generators (Philox): which group a row is in depends on the
seed and the row's number alone, so that results do not depend on how rows are cut into blocks, and resamples with one
seed are paired across models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosshead.losses.protocol import Array, Float

GROUPS = 1 << 16
"""Most groups of rows that are drawn; a power of two."""

BATCH_ELEMENTS = 1 << 22  # numbers of draws that are held at a time
DEALING, DRAWING = 0, 1  # the two streams of random numbers of one seed


@dataclass(frozen=True)
class Interval:
    """An estimate and the limits of its confidence interval; ``level`` is 0.95 for 95 %.

    Examples
    --------
    >>> print(Interval(0.25, 0.125, 0.5, 0.95))
    0.25 [0.125, 0.5]
    """

    estimate: float
    lower: float
    upper: float
    level: float

    def __str__(self) -> str:
        return f"{self.estimate:.4g} [{self.lower:.4g}, {self.upper:.4g}]"


class GroupSums:
    """Sums of columns of per-row numbers, one a group: all that resampling needs of the rows."""

    def __init__(self, n_rows: int, n_columns: int, seed: int) -> None:
        self.n_rows, self.seed = n_rows, checked_seed(seed)
        self.sums = np.zeros((n_columns, min(n_rows, GROUPS)))

    def groups(self, first: int, count: int) -> NDArray[np.intp]:
        """The group of each of ``count`` rows from row ``first`` on, (count,)."""
        if self.n_rows <= GROUPS:
            return np.arange(first, first + count, dtype=np.intp)
        stream = np.random.Philox(key=[self.seed, DEALING])
        stream.advance(first // 4)  # one step of the counter makes four numbers
        raw = stream.random_raw(first % 4 + count)[first % 4 :]
        return (raw & np.uint64(GROUPS - 1)).astype(np.intp)

    def add(self, column: int, groups: NDArray[np.intp], values: Array) -> None:
        """Add each value to the sum of its row's group; row after row, whatever the blocks are."""
        np.add.at(self.sums[column], groups, values)

    def add_binned(self, column: int, bins: NDArray[np.intp], groups: NDArray[np.intp], values: Array) -> None:
        """Add each value to the column of its bin; column ``column`` is bin 0."""
        flat = self.sums.reshape(-1)
        np.add.at(flat, (column + bins) * self.sums.shape[1] + groups, values)

    def resampled(self, resamples: int) -> Float:
        """The sums of all columns over each resample, (resamples, columns)."""
        return resampled_sums(self.sums, resamples, self.seed)


def resampled_sums(sums: Float, resamples: int, seed: int) -> Float:
    """Sums over ``resamples`` draws of M columns out of ``sums`` (K, M) with replacement, (resamples, K).

    Draw b depends on the seed, b and M alone.
    """
    if resamples < 1:
        raise ValueError(f"the number of resamples must be positive, not {resamples}")
    count = sums.shape[1]
    out = np.empty((resamples, len(sums)))
    step = max(1, BATCH_ELEMENTS // max(1, count))
    for start in range(0, resamples, step):
        batch = range(start, min(start + step, resamples))
        times = np.stack([_draw(count, number, seed) for number in batch])
        out[start : batch.stop] = times @ sums.T
    return out


def _draw(count: int, number: int, seed: int) -> Float:
    generator = np.random.Generator(np.random.Philox(key=[seed, DRAWING], counter=[0, 0, 0, number]))
    return np.bincount(generator.integers(0, count, size=count), minlength=count).astype(np.float64)


def percentile_interval(estimate: float, replicates: Float, level: float) -> Interval:
    """The percentile interval: of a mean. Limits may be infinite where the replicates are."""
    lower, upper = _limits(replicates, level)
    return Interval(estimate, lower, upper, level)


def pivotal_interval(
    estimate: float, replicates: Float, level: float, lowest: float = 0.0, *, by_chance: float = 0.0
) -> Interval:
    """The basic (pivotal) interval 2θ̂ − quantiles, cut at ``lowest`` and widened to hold the estimate.

    For estimates that noise makes larger, as it does the calibration error: resampling adds the same noise once
    more, so that percentiles of the replicates would lie above what is estimated. An estimate up to ``by_chance`` is
    as large as noise alone makes it, and its interval begins at ``lowest``.
    """
    lower, upper = _limits(replicates, level)
    below = lowest if estimate <= by_chance else max(2 * estimate - upper, lowest)
    return Interval(estimate, min(below, estimate), max(2 * estimate - lower, estimate), level)


def bootstrap_mean(
    values: Any,
    *,
    sample_weight: Any = None,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
    block_rows: int = 1 << 18,
) -> Interval:
    """The (weighted) mean of one number a row, (N,), with its bootstrap percentile interval.

    A weight stays with its row when the row is drawn. Raises ValueError for no rows, NaN, a level outside (0, 1) and
    weights that are negative or sum to zero. ``values`` may be memory-mapped: blocks of rows are read once.

    Examples
    --------
    >>> interval = bootstrap_mean([0, 0, 1, 1] * 25, seed=1)
    >>> interval.estimate, 0.35 < interval.lower < 0.45, 0.55 < interval.upper < 0.65
    (0.5, True, True)
    """
    values = np.asarray(values)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"give one number a row, at least one row, not an array of shape {values.shape}")
    weights = None if sample_weight is None else np.asarray(sample_weight)
    if weights is not None and weights.shape != values.shape:
        raise ValueError(f"{len(values)} values need as many weights, not an array of shape {weights.shape}")
    sums = GroupSums(len(values), 2, seed)
    for first in range(0, len(values), block_rows):
        block = values[first : first + block_rows].astype(np.float64)
        if np.isnan(block).any():
            raise ValueError(f"the value of row {first + int(np.isnan(block).argmax())} is NaN")
        own = np.ones(len(block)) if weights is None else checked_weights(weights[first : first + block_rows], first)
        groups = sums.groups(first, len(block))
        sums.add(0, groups, own)
        sums.add(1, groups, own * block)
    total, weighted = sums.sums.sum(axis=1)
    if not total > 0:
        raise ValueError("the weights sum to zero")
    return percentile_interval(float(weighted / total), means(sums.resampled(resamples)), checked_level(level))


def means(sums: Float) -> Float:
    """Second column over the first, (resamples,); NaN where a resample drew no weight at all."""
    undrawn = np.full(len(sums), np.nan)
    return np.asarray(np.divide(sums[:, 1], sums[:, 0], out=undrawn, where=sums[:, 0] > 0))


def checked_weights(weights: Any, first: int = 0) -> Float:
    """Weights of rows as float64, none of them negative, NaN or infinite."""
    own = np.asarray(weights, dtype=np.float64)
    wrong = ~(np.isfinite(own) & (own >= 0))
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(f"the weight of row {first + row} is {own[row]}; weights must be finite and not negative")
    return own


def checked_level(level: float) -> float:
    """A confidence level inside (0, 1)."""
    if not 0 < level < 1:
        raise ValueError(f"the level of an interval must lie between 0 and 1, as 0.95, not {level}")
    return float(level)


def checked_seed(seed: int) -> int:
    """A seed that Philox takes as half of its key."""
    if not 0 <= seed < 1 << 64:
        raise ValueError(f"the seed must lie between 0 and 2^64 − 1, not {seed}")
    return int(seed)


def _limits(replicates: Float, level: float) -> tuple[float, float]:
    drawn = replicates[~np.isnan(replicates)]
    if drawn.size == 0:
        return float("nan"), float("nan")
    tail = (1 - checked_level(level)) / 2
    # Order statistics: interpolating between a finite replicate and an infinite one would make NaN.
    lower, upper = np.quantile(drawn, [tail, 1 - tail], method="inverted_cdf")
    return float(lower), float(upper)
