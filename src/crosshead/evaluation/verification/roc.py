"""Verification: error rates of the decision whether two samples have the same identity.

A pair is accepted if its similarity is at least a threshold. Genuine pairs have the same identity, impostor pairs two.
FAR is the share of impostor pairs that are accepted, TAR the share of genuine pairs, FRR = 1 − TAR.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosshead.losses.protocol import Float

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold whose FAR is at most a requested rate; `Roc.tar_at` returns it.

    * ``requested``: the requested FAR; ``far`` ≤ requested and ``tar``: the rates reached
    * ``threshold``: pairs at least this similar are accepted; +inf if none may be
    * ``false_accepts`` of ``impostors``: the counts that ``far`` is computed from

    Examples
    --------
    >>> roc([0.9, 0.7, 0.8, 0.2, 0.1], [True, True, False, False, False]).tar_at(0.4).tar
    1.0
    """

    requested: float
    far: float
    tar: float
    threshold: float
    false_accepts: int
    impostors: int

    @property
    def resolved(self) -> bool:
        """Whether there are enough impostor pairs for one false acceptance: requested · impostors ≥ 1.

        If not, ``tar`` is that without any false acceptance, for any smaller FAR.
        """
        return self.requested * self.impostors >= 1


@dataclass(frozen=True, eq=False)
class Roc:
    """The ROC curve of pairs: accepted pairs at every relevant threshold, (T,) each, strictest threshold first.

    * ``threshold``: falling, from +inf, where nothing is accepted
    * ``false_accepts``, ``true_accepts``: impostor and genuine pairs at least as similar as the threshold; the last
      entries are the totals

    Examples
    --------
    >>> curve = roc([0.9, 0.7, 0.8, 0.2, 0.1], [True, True, False, False, False])
    >>> curve.tar.tolist(), curve.false_accepts.tolist()
    ([0.0, 0.5, 0.5, 1.0, 1.0, 1.0], [0, 0, 1, 1, 2, 3])
    >>> round(curve.auc, 4), round(curve.eer, 4), curve.tar_at(0.01).tar
    (0.8333, 0.3333, 0.5)
    """

    threshold: Float
    false_accepts: Counts
    true_accepts: Counts

    @property
    def impostors(self) -> int:
        """The number of impostor pairs."""
        return int(self.false_accepts[-1])

    @property
    def genuine(self) -> int:
        """The number of genuine pairs."""
        return int(self.true_accepts[-1])

    @property
    def far(self) -> Float:
        """False acceptance rate, (T,), rising; also called false positive rate or FMR."""
        return self.false_accepts / self.impostors

    @property
    def tar(self) -> Float:
        """True acceptance rate, (T,), rising; also called true positive rate."""
        return self.true_accepts / self.genuine

    @property
    def auc(self) -> float:
        """Area under TAR over FAR: how often a genuine pair is more similar than an impostor pair (ties count half)."""
        far, tar = self.far, self.tar
        return float(np.diff(far) @ (tar[1:] + tar[:-1]) / 2)

    @property
    def eer(self) -> float:
        """Equal error rate: FAR = FRR, interpolated linearly between neighbouring thresholds."""
        far, excess = self.far, self.far + self.tar - 1
        after = int(np.argmax(excess >= 0))  # it rises from −1 to 1
        part = -excess[after - 1] / (excess[after] - excess[after - 1])
        return float(far[after - 1] + part * (far[after] - far[after - 1]))

    def tar_at(self, far: float) -> OperatingPoint:
        """The lowest threshold whose FAR is at most ``far``, a share between 0 and 1, without interpolation.

        Raises ValueError for a rate outside 0…1.
        """
        if not 0 <= far <= 1:
            raise ValueError(f"a false acceptance rate is between 0 and 1, not {far}")
        # 0.3 · 10 is 3 pairs, although the product of the floats differs from 3 in the last bit.
        place = int(np.searchsorted(self.false_accepts, far * self.impostors * (1 + 1e-12), side="right")) - 1
        return OperatingPoint(
            requested=float(far),
            far=float(self.far[place]),
            tar=float(self.tar[place]),
            threshold=float(self.threshold[place]),
            false_accepts=int(self.false_accepts[place]),
            impostors=self.impostors,
        )

    def to_dict(self, fars: Sequence[float] = (1e-2, 1e-3)) -> dict[str, Any]:
        """Convert to JSON types: pairs, EER, AUC and operating points at ``fars``; an infinite threshold is None."""
        points = [self.tar_at(far) for far in fars]
        return {
            "genuine_pairs": self.genuine,
            "impostor_pairs": self.impostors,
            "eer": self.eer,
            "auc": self.auc,
            "tar_at_far": [
                {
                    "requested": point.requested,
                    "far": point.far,
                    "tar": point.tar,
                    "threshold": point.threshold if point.false_accepts or point.tar else None,
                    "false_accepts": point.false_accepts,
                    "resolved": point.resolved,
                }
                for point in points
            ],
        }


def roc(similarity: Any, same: Any) -> Roc:
    """Compute the ROC curve from similarities of pairs (P,), any finite numbers, and whether each pair is genuine (P,).

    Pairs of equal similarity are accepted together. Raises ValueError for numbers that are not finite, naming the pair,
    and if genuine or impostor pairs are missing.

    Examples
    --------
    >>> roc([0.9, 0.7, 0.8, 0.2, 0.1], [1, 1, 0, 0, 0]).far.round(3).tolist()
    [0.0, 0.0, 0.333, 0.333, 0.667, 1.0]
    """
    values, genuine = _as_pairs(similarity, same)
    order = np.argsort(-values, kind="stable")
    values, genuine = values[order], genuine[order]
    last = np.append(values[1:] != values[:-1], True)  # last of equally similar pairs
    hits = np.cumsum(genuine)
    return curve_of(values[last], (np.arange(1, len(values) + 1) - hits)[last], hits[last])


def curve_of(threshold: Float, false_accepts: NDArray[Any], true_accepts: NDArray[Any]) -> Roc:
    """Create a curve from falling thresholds and cumulative counts; the strictest threshold is added."""
    counts = [np.concatenate([[0], part]).astype(np.int64) for part in (false_accepts, true_accepts)]
    if counts[0][-1] == 0 or counts[1][-1] == 0:
        missing = "impostor pair (two identities)" if counts[0][-1] == 0 else "genuine pair (the same identity twice)"
        raise ValueError(f"error rates need pairs of both kinds, and there is no {missing}")
    return Roc(np.concatenate([[np.inf], threshold]), *counts)


@dataclass(frozen=True, eq=False)
class FoldedAccuracy:
    """Accuracies of K folds with thresholds from the other folds, (K,) each; `folded_accuracy` returns it.

    Examples
    --------
    >>> found = folded_accuracy([0.9, 0.1, 0.8, 0.25, 0.4, 0.2], [1, 0, 1, 0, 1, 0], folds=3)
    >>> round(found.accuracy, 4), round(found.standard_error, 4)
    (0.8333, 0.1667)
    """

    accuracies: Float
    thresholds: Float

    @property
    def accuracy(self) -> float:
        """The mean over folds."""
        return float(self.accuracies.mean())

    @property
    def standard_error(self) -> float:
        """The standard error of that mean, σ/√K with σ² = Σ (accuracy − mean)²/(K − 1)."""
        return float(self.accuracies.std(ddof=1) / sqrt(len(self.accuracies)))


def folded_accuracy(similarity: Any, same: Any, folds: Any = 10) -> FoldedAccuracy:
    """Compute the accuracy on each fold of pairs with the threshold that is best on the other folds.

    ``folds`` is the fold of each pair (P,), or a number K of contiguous parts, as in the list of Labeled Faces in the
    Wild. A threshold is halfway between the two similarities that it separates; of equally good ones the strictest is
    used. Raises ValueError for fewer than two folds, and if all folds but one have only one kind of pair.

    Source: Huang, Ramesh, Berg and Learned-Miller, Labeled Faces in the Wild, technical report 07-49, 2007.

    Examples
    --------
    >>> found = folded_accuracy([0.9, 0.1, 0.8, 0.25, 0.4, 0.2], [1, 0, 1, 0, 1, 0], folds=3)
    >>> found.accuracies.tolist(), found.thresholds.round(3).tolist()
    ([1.0, 1.0, 0.5], [0.325, 0.3, 0.525])
    """
    values, genuine = _as_pairs(similarity, same)
    part = _as_folds(folds, len(values))
    names = np.unique(part)
    if len(names) < 2:
        raise ValueError("a threshold that is chosen on other pairs needs at least 2 folds")
    accuracies, thresholds = [], []
    for name in names:
        here = part == name
        threshold = _best_threshold(roc(values[~here], genuine[~here]))
        accuracies.append(np.mean((values[here] >= threshold) == genuine[here]))
        thresholds.append(threshold)
    return FoldedAccuracy(np.array(accuracies), np.array(thresholds))


def _best_threshold(curve: Roc) -> float:
    place = int(np.argmax(curve.true_accepts - curve.false_accepts))
    if place == 0:
        return float(np.inf)
    if place == len(curve.threshold) - 1:
        return float(curve.threshold[-1])
    return float((curve.threshold[place] + curve.threshold[place + 1]) / 2)


def _as_folds(folds: Any, n_pairs: int) -> NDArray[Any]:
    part = np.asarray(folds)
    if part.ndim == 0:
        if not 2 <= int(part) <= n_pairs:
            raise ValueError(f"{n_pairs} pairs make 2 to {n_pairs} folds, not {folds}")
        return np.arange(n_pairs) * int(part) // n_pairs
    if part.shape != (n_pairs,):
        raise ValueError(f"{n_pairs} pairs need folds of shape {(n_pairs,)}, not {part.shape}")
    return part


def _as_pairs(similarity: Any, same: Any) -> tuple[Float, NDArray[np.bool_]]:
    values, genuine = np.asarray(similarity), np.asarray(same)
    if values.ndim != 1 or len(values) == 0 or values.dtype.kind not in "biuf":
        raise ValueError(f"similarities must be numbers of shape (pairs,), not {values.dtype} of shape {values.shape}")
    if genuine.shape != values.shape:
        raise ValueError(f"{len(values)} similarities need as many answers `same`, not {genuine.shape}")
    if genuine.dtype.kind not in "biuf" or not np.isin(genuine, (0, 1)).all():
        raise ValueError("`same` must be True for pairs of one identity and False for pairs of two, or 1 and 0")
    values = values.astype(np.float64, copy=False)
    if not np.isfinite(values).all():
        pair = int(np.argmin(np.isfinite(values)))
        raise ValueError(f"the similarity of pair {pair} is {values[pair]}, not a finite number")
    return np.asarray(values), genuine.astype(bool)
