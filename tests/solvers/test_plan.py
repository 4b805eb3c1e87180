"""The table of methods: what fits where, one table for single fits and paths, and the same one in the documentation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from scipy import sparse

from crosshead.engines import TrainingData, has_native, make_engine
from crosshead.losses import LOSSES, get_loss
from crosshead.objective import Objective
from crosshead.objective.facts import Trait
from crosshead.penalties import ElasticNet
from crosshead.solvers import minimise
from crosshead.solvers import plan as plan_module
from crosshead.solvers.continuation import Carried
from crosshead.solvers.loop import Run, minimise_with
from crosshead.solvers.methods.dual_ascent import DualAscent
from crosshead.solvers.methods.interior_point import InteriorPoint
from crosshead.solvers.methods.lbfgs import LBFGS
from crosshead.solvers.methods.newton import Newton
from crosshead.solvers.methods.primal_dual import PrimalDual
from crosshead.solvers.methods.proximal_newton import ProximalNewton
from crosshead.solvers.methods.sparse_newton import SparseNewton
from crosshead.solvers.numerics.line_search import search
from crosshead.solvers.plan import METHODS, TABLE, Row, choose, plan
from crosshead.solvers.stages import Stage


def objective_of(
    loss: str, shape: tuple[int, int, int], *, l1_ratio: float = 0.0, alpha: float = 0.1, csr: bool = False
) -> Objective:
    rows, columns, classes = shape
    random = np.random.default_rng(0)
    X = random.normal(size=(rows, columns))
    y = random.integers(0, classes, rows).astype(np.int32)
    engine = make_engine("auto", TrainingData(sparse.csr_matrix(X) if csr else X, y, classes))
    return Objective(engine, get_loss(loss), ElasticNet(alpha, l1_ratio))


def facts_of(*arguments: Any, **options: Any) -> Any:
    return objective_of(*arguments, **options).facts


SMALL, TALL, WIDE = (60, 5, 3), (600, 60, 8), (40, 90, 3)


@pytest.mark.skipif(not has_native(), reason="the native engine is not built")
@pytest.mark.parametrize(
    ("expected", "loss", "shape", "options"),
    [
        (InteriorPoint, "hinge", SMALL, {"l1_ratio": 0.5}),
        (PrimalDual, "hinge", (600, 1200, 8), {"l1_ratio": 0.5}),
        (DualAscent, "hinge", TALL, {}),
        (InteriorPoint, "crammer_singer", SMALL, {}),
        (ProximalNewton, "softmax", (400, 900, 3), {"l1_ratio": 1.0}),
        (SparseNewton, "squared_hinge", (900, 200, 8), {"l1_ratio": 1.0}),
        (Newton, "binary", SMALL, {}),
        (DualAscent, "softmax", TALL, {"csr": True}),
        (LBFGS, "softmax", TALL, {}),
        (LBFGS, "softmax", TALL, {"alpha": 0.0}),
    ],
)
def test_which_method_runs(expected: Any, loss: str, shape: Any, options: Any) -> None:
    stages = choose(facts_of(loss, shape, **options)).stages
    assert stages[0].method is expected


@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("csr", [False, True])
@pytest.mark.parametrize("shape", [SMALL, TALL, WIDE])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_stage_gets_what_it_needs(loss: str, shape: Any, l1_ratio: float, csr: bool) -> None:
    facts = facts_of(loss, shape, l1_ratio=l1_ratio, csr=csr)
    for stage in plan(facts).stages:
        assert not stage.fits(facts) or stage.method.needs <= facts.traits


def test_a_path_follows_the_same_table() -> None:
    facts, carried = facts_of("softmax", TALL), Carried()
    assert choose(facts, carried).stages is choose(facts).stages
    assert choose(facts, carried).carried is carried


def test_a_method_says_what_it_needs() -> None:
    objective = objective_of("hinge", SMALL)
    with pytest.raises(ValueError, match="Newton needs a smooth loss"):
        minimise_with(Newton(), objective, np.zeros(objective.size), tol=1e-4, max_iter=3)


@dataclass(frozen=True)
class SteepestDescent:
    """What a newcomer would write: a method in one class, which knows nothing of any other."""

    title: ClassVar[str] = "steepest descent"
    needs: ClassVar[frozenset[Trait]] = frozenset({"a smooth loss", "no L1 part"})

    def start(self, run: Run, point: Any) -> Any:
        return run.begin(point)

    def step(self, run: Run, state: Any) -> Any:
        here = run.current(state)
        return search(run.evaluate, here, -here.gradient, exact=run.exact)

    def stuck(self, state: Any) -> bool:
        return state is None


def test_a_new_method_is_one_class_and_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Row("smooth", lambda facts: facts.smooth and not facts.l1, (Stage(SteepestDescent),), "to show how")
    monkeypatch.setattr(plan_module, "TABLE", (row, *TABLE))
    objective = objective_of("softmax", SMALL, alpha=1.0)
    assert choose(objective.facts).stages[0].method is SteepestDescent
    found = minimise(objective, np.zeros(objective.size), tol=1e-3)
    assert found.status == "converged"
    assert row.methods == "steepest descent"


def test_the_last_row_fits_everything() -> None:
    assert TABLE[-1].fits(facts_of("softmax", TALL, alpha=0.0))
    assert {stage.method for row in TABLE for stage in row.stages} == set(METHODS)


def test_the_documentation_has_the_table() -> None:
    import solvers_table  # type: ignore[import-not-found]

    text = solvers_table.DOCUMENT.read_text()
    assert solvers_table.renewed(text) == text, "run python tools/solvers_table.py"
    assert Path(solvers_table.DOCUMENT).name == "solvers.md"
