"""The table of methods: what fits where, one table for single fits and paths, and the same one in the documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from crosshead.engines import TrainingData, has_native, make_engine
from crosshead.losses import LOSSES, get_loss
from crosshead.objective import Objective
from crosshead.penalties import ElasticNet
from crosshead.solvers.continuation import Carried, CarriedLBFGS, CarriedSparse
from crosshead.solvers.dual_ascent import DualAscent
from crosshead.solvers.interior_point import InteriorPoint
from crosshead.solvers.newton import Newton
from crosshead.solvers.penalty_path import GuardedLBFGS
from crosshead.solvers.plan import TABLE, choose, plan
from crosshead.solvers.proximal_newton import ProximalNewton
from crosshead.solvers.smooth_ascent import SmoothAscent
from crosshead.solvers.smoothing import PathFollowing, Smoothing
from crosshead.solvers.sparse_newton import SparseNewton
from crosshead.solvers.stages import Stages


def facts_of(
    loss: str, shape: tuple[int, int, int], *, l1_ratio: float = 0.0, alpha: float = 0.1, csr: bool = False
) -> Any:
    rows, columns, classes = shape
    random = np.random.default_rng(0)
    X = random.normal(size=(rows, columns))
    y = random.integers(0, classes, rows).astype(np.int32)
    engine = make_engine("auto", TrainingData(sparse.csr_matrix(X) if csr else X, y, classes))
    return Objective(engine, get_loss(loss), ElasticNet(alpha, l1_ratio)).facts


SMALL, TALL, WIDE = (60, 5, 3), (600, 60, 8), (40, 90, 3)


@pytest.mark.skipif(not has_native(), reason="the native engine is not built")
@pytest.mark.parametrize(
    ("expected", "loss", "shape", "options"),
    [
        (InteriorPoint, "hinge", SMALL, {"l1_ratio": 0.5}),
        (Smoothing, "hinge", (600, 1200, 8), {"l1_ratio": 0.5}),
        (DualAscent, "hinge", TALL, {}),
        (PathFollowing, "crammer_singer", SMALL, {}),
        (ProximalNewton, "softmax", (400, 900, 3), {"l1_ratio": 1.0}),
        (SparseNewton, "squared_hinge", (900, 200, 8), {"l1_ratio": 1.0}),
        (Newton, "binary", SMALL, {}),
        (SmoothAscent, "softmax", TALL, {"csr": True}),
        (GuardedLBFGS, "softmax", TALL, {}),
        (GuardedLBFGS, "softmax", TALL, {"alpha": 0.0}),
    ],
)
def test_which_method_runs(expected: Any, loss: str, shape: Any, options: Any) -> None:
    assert isinstance(choose(facts_of(loss, shape, **options)), expected)


@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("shape", [SMALL, TALL, WIDE])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_path_follows_the_same_table(loss: str, shape: Any, l1_ratio: float) -> None:
    facts = facts_of(loss, shape, l1_ratio=l1_ratio)
    single, along = choose(facts), choose(facts, Carried())
    if plan(facts).next_method is None:
        assert type(along) is type(single)
    else:
        assert isinstance(along, CarriedLBFGS | CarriedSparse | SmoothAscent | Stages)


def test_the_last_row_fits_everything() -> None:
    assert TABLE[-1].fits(facts_of("softmax", TALL, alpha=0.0))


def test_the_documentation_has_the_table() -> None:
    import solvers_table  # type: ignore[import-not-found]

    text = solvers_table.DOCUMENT.read_text()
    assert solvers_table.renewed(text) == text, "run python tools/solvers_table.py"
    assert Path(solvers_table.DOCUMENT).name == "solvers.md"
