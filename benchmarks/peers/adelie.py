"""adelie: coordinate descent along a path of strengths that ends at ours.

Its multinomial loss is ours divided by C, so λ = α/C. Its `grpnet` groups the classes of a feature (‖W[:, d]‖₂); for
‖W‖₁ the same solver is given groups of one, through the state that grpnet itself would make.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, final

import numpy as np

from peers.base import Cannot, Fit, Solution, falling, installed, only_softmax
from problems import Problem

PATH_LENGTH = 10  # strengths from the one where all of W is zero down to ours: faster here than ours alone


@final
class Adelie:
    name = "adelie"
    environment = "adelie"
    dtype = "float32"
    knob = "tol"

    def cannot(self, problem: Problem) -> str | None:
        if problem.sparse:
            return "not set up for CSR"
        if problem.smooth_penalty:
            return "its coordinate descent needs an L1 part"
        return only_softmax(problem)

    def budgets(self) -> Iterator[float]:
        return falling(1e-3, 1e-11, 1)

    def prepare(self, problem: Problem, features: Any, labels: np.ndarray, budget: float, threads: int) -> Fit:
        import adelie  # noqa: F401  (so that its import is not timed)

        x = np.asfortranarray(features)
        one_hot = np.zeros((problem.rows, problem.classes), dtype=x.dtype)
        one_hot[np.arange(problem.rows), labels] = 1

        def fit() -> Solution:
            state = elementwise_state(problem, x, one_hot, budget, threads).solve(progress_bar=False)
            if state.error or not len(state.lmdas):
                raise Cannot(f"its solver ended with: {state.error or 'no solution'}")
            reached = float(state.lmdas[-1]) * problem.classes
            if abs(reached - problem.alpha) > 1e-5 * problem.alpha:
                raise Cannot(f"its path ended at α = {reached:.3g}")
            coef = state.betas[-1].toarray().reshape(problem.features, problem.classes).T
            intercept = np.ravel(state.intercepts[-1]) if problem.fit_intercept else np.zeros(problem.classes)
            return Solution(coef, intercept, None, f"a path of {PATH_LENGTH}")

        return fit

    def version(self) -> str:
        return installed("adelie", "numpy")


def elementwise_state(problem: Problem, x: np.ndarray, one_hot: np.ndarray, tol: float, threads: int) -> Any:
    """What `adelie.grpnet` makes of a multinomial problem, with one group for each entry of W."""
    import adelie

    dtype, classes = x.dtype, problem.classes
    unpenalised = classes if problem.fit_intercept else 0
    size = unpenalised + problem.features * classes
    glm = adelie.glm.multinomial(one_hot, dtype=dtype.type)
    offsets = np.zeros((problem.rows, classes), dtype=dtype)
    residuals = np.empty((problem.rows, classes), dtype=dtype)
    glm.gradient(offsets, residuals)
    gradient = np.concatenate([residuals.sum(axis=0)[:unpenalised], (x.T @ residuals).ravel()]).astype(dtype)
    # Where all of W is zero and the bias fits: the largest entry of the gradient at the class frequencies.
    strongest = float(np.abs(_gradient_of_null_model(x, one_hot)).max()) / problem.l1_ratio / classes
    weakest = problem.alpha / classes
    path = np.geomspace(max(strongest, weakest), weakest, PATH_LENGTH)
    screened = np.arange(unpenalised)
    active = np.zeros(size, dtype=int)
    active[:unpenalised] = screened
    return adelie.state.multiglm_naive(
        X=x,
        glm=glm,
        constraints=None,
        groups=np.arange(size),
        group_sizes=np.ones(size, dtype=int),
        alpha=problem.l1_ratio,
        penalty=np.concatenate([np.zeros(unpenalised), np.ones(size - unpenalised)]).astype(dtype),
        offsets=offsets,
        lmda=np.inf,
        lmda_path=path.astype(dtype),
        screen_set=screened,
        screen_beta=np.zeros(unpenalised, dtype=dtype),
        screen_is_active=np.ones(unpenalised, dtype=bool),
        active_set_size=unpenalised,
        active_set=active,
        grad=gradient,
        eta=offsets.ravel(),
        resid=residuals.ravel(),
        loss_full=glm.loss_full(),
        early_exit=False,
        tol=tol,
        irls_tol=tol,
        n_threads=threads,
        intercept=problem.fit_intercept,
    )


def _gradient_of_null_model(x: np.ndarray, one_hot: np.ndarray) -> np.ndarray:
    residuals = one_hot - one_hot.mean(axis=0)
    return np.asarray(x.T @ residuals) / len(x)
