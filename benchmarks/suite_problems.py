"""Which problems the suite has, and to which half each belongs: both follow from the hash of its name alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from problems import Workload
from suite_data import SUITE_DATA

ALPHA_ROWS = (0.01, 1.0, 100.0)  # α·N
# One problem in SHARE is kept of what is not softmax with L2.
SHARE = 6
HALVES = ("development", "validation")


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def half_of(name: str) -> str:
    """The half that a problem belongs to, for good: by the lowest bit of the first byte."""
    return HALVES[_digest(name)[0] & 1]


def is_kept(name: str, loss: str, l1_ratio: float) -> bool:
    """Softmax with L2 always; of the others those whose second byte is a multiple of `SHARE`."""
    return (loss == "softmax" and l1_ratio == 0) or _digest(name)[1] % SHARE == 0


def candidates(dataset: str) -> Iterator[Workload]:
    """The whole product for one data set.

    "binary" is one logistic regression a class. Crammer–Singer has no bias, and L2 alone, as in LIBLINEAR.
    """
    for loss in ("softmax", "squared_hinge", "hinge", "crammer_singer", "binary"):
        for l1_ratio in (0.0, 1.0):
            if loss == "crammer_singer" and l1_ratio > 0:
                continue
            for alpha_rows in ALPHA_ROWS:
                name = f"{dataset}/{loss}/{'l1' if l1_ratio else 'l2'}/{alpha_rows:g}"
                title = f"{dataset}, {loss}, {'L1' if l1_ratio else 'L2'}, α = {alpha_rows:g}/N"
                yield Workload(
                    name,
                    title,
                    dataset,
                    loss=loss,
                    alpha_rows=alpha_rows,
                    l1_ratio=l1_ratio,
                    fit_intercept=loss != "crammer_singer",
                )


def suite() -> list[Workload]:
    """Every problem, in the order of the data sets."""
    return [
        workload
        for dataset in SUITE_DATA
        for workload in candidates(dataset)
        if is_kept(workload.name, workload.loss, workload.l1_ratio)
    ]
