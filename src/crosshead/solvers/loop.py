"""The one loop of all solvers: step, record, certify, stop.

A method proposes points; the loop keeps the best value and the best bound, decides when to spend an exact pass on a
certificate, and is the only place that determines the status of a fit.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np

from crosshead.objective.facts import Facts, Trait
from crosshead.solvers.costs import SCORES_PASS, is_small, keeps_scores
from crosshead.solvers.numerics.line_search import NOISE_DOUBLE, largest
from crosshead.solvers.protocol import (
    Callback,
    Evaluation,
    Float,
    Objective,
    Progress,
    Result,
    Status,
    relative_gap,
)

State = TypeVar("State")

ENDED_FROM_OUTSIDE = ("max_iter", "max_time", "interrupted", "stopped")
COARSE_GAP = 1e-2  # gap below which passes are no longer coarse
SLOW_SHARE, MAX_SLOW = 0.1, 4  # nor after that many in a row that gained less than this share of their resolution
SEEN_DECREASE, SEEN_GAP = (
    1e-6,
    0.99,
)  # smaller changes of F and the gap are no progress in single precision
MAX_IDLE = 10  # evaluations in a row without progress, after which passes are exact
GAP_CHANGE, GRADIENT_CHANGE = 0.999, 0.5  # shares of the smallest value so far that count as a change
LATE_SHARE, LATE_SECONDS = 0.03, 0.1  # share of max_time, and seconds, by which a fit may exceed it
MAX_UNCHANGED = 10  # steps in a row that change nothing, after which a fit ends
BIAS_STEPS = 4  # limit of Newton steps on the bias alone for one certificate if scores are not kept
FLAT_GRADIENT = 1e-3  # alpha = 0: the share of tol by which the gradient is to fall; tol itself if nothing else changes


class Method(Protocol[State]):
    """A method: it creates a first state, and steps from one state to the next.

    ``title`` is its name in the table of methods, ``needs`` are the traits that an objective must have.
    """

    title: ClassVar[str]
    needs: ClassVar[frozenset[Trait]]

    def start(self, run: Run, point: Float) -> State:
        """Create the state at the starting point."""
        ...

    def step(self, run: Run, state: State) -> State:
        """Take a step and return the next state."""
        ...

    def stuck(self, state: State) -> bool:
        """Whether no further step makes progress."""
        ...


def check_needs(method: Method[Any], facts: Facts) -> None:
    """Raise ValueError if an objective lacks a trait that the method needs."""
    missing = sorted(method.needs - facts.traits)
    if missing:
        raise ValueError(f"{type(method).__name__} needs {', '.join(missing)}: this objective does not offer it")


@dataclass
class Changes:
    """Whether steps in double precision still change the value, the gap or the gradient.

    The value counts as changed if it differs from that of the last change by more than rounding; gap and gradient if
    they fell. A state that repeats itself changes none of them, whatever its last digits.
    """

    value: float = np.nan
    gap: float = np.inf
    gradient: float = np.inf
    unchanged: int = 0

    def count(self, value: float, gap: float, gradient: float) -> None:
        """Record the last evaluation of a step."""
        moved = not abs(value - self.value) <= NOISE_DOUBLE * abs(self.value)
        if moved or gap < GAP_CHANGE * self.gap or gradient < GRADIENT_CHANGE * self.gradient:
            self.value, self.unchanged = value, 0
            self.gap, self.gradient = min(gap, self.gap), gradient if moved else min(gradient, self.gradient)
        else:
            self.unchanged += 1

    @property
    def ended(self) -> bool:
        """Whether so many steps changed nothing that the fit ends."""
        return self.unchanged >= MAX_UNCHANGED


@dataclass
class Run:
    """A fit in progress: the objective, the cost so far, and the best found so far."""

    objective: Objective
    tol: float
    max_time: float | None
    exact: bool
    began: float = field(default_factory=time.perf_counter)
    passes: int = 0
    parts: float = 0.0  # share of the next pass
    sweeps: float = 0.0  # over the rows, of coordinate ascent
    between: float = 0.0  # cost in passes of products and factorisations between passes, as far as counted
    residual: Float | None = None  # (N, C), the last one of methods of the dual problem
    factorisations: int = 0
    best: Any = None
    bound: float = -np.inf
    certified: Any = None
    certified_bound: float = -np.inf
    first_gradient: float | None = None
    active: Any = None
    coarse: bool = False
    coarse_ahead: bool = False
    slow: int = 0
    bias_attempts: int = 0
    next_bias_attempt: int = 0
    idle: int = 0
    progress_value: float = np.inf
    progress_gap: float = np.inf
    last: tuple[float, float] = (np.inf, np.inf)  # value and largest slope of the last evaluation
    changes: Changes = field(default_factory=Changes)
    counted: int = 0
    last_step: float = 0.0  # in seconds

    @property
    def seconds(self) -> float:
        """Seconds since the fit began."""
        return time.perf_counter() - self.began

    @property
    def cost(self) -> float:
        """The cost so far, in passes; a sweep over the rows counts as one."""
        return self.passes + self.parts + self.sweeps + self.between

    @property
    def seconds_left(self) -> float:
        """Seconds left of the time limit; inf without one."""
        return np.inf if self.max_time is None else max(0.0, self.max_time - self.seconds)

    @property
    def out_of_time(self) -> bool:
        """Whether the time limit is reached, or would be far exceeded by a step as long as the last."""
        if self.max_time is None:
            return False
        tolerated = LATE_SHARE * self.max_time + LATE_SECONDS
        return self.seconds_left <= 0 or (self.last_step > tolerated and self.last_step > self.seconds_left + tolerated)

    @property
    def gap(self) -> float:
        """The best estimate of the relative gap so far."""
        return np.inf if self.best is None else relative_gap(self.best.value, self.bound)

    @property
    def free_gap(self) -> float:
        """The same, if the sums of the residuals of the best evaluation were zero."""
        return min(self.gap, relative_gap(self.best.value, self.active.free_bound(self.best)))

    def begin(self, point: Float, objective: Objective | None = None) -> Any:
        """Evaluate the point that a method starts from, or return the best evaluation if it is there."""
        if self.best is None or self.best.point is not point or not self.objective.smooth or objective is not None:
            return self.evaluate(point, objective)
        return self.current(self.best)

    def evaluate(self, point: Float, objective: Objective | None = None) -> Any:
        """Run a pass at a point, count it, and record it. ``objective`` may be a smoothed version of the run's."""
        self.active = objective or self.objective
        if self.coarse_ahead:
            self.coarse_ahead, self.coarse = False, self.objective.coarse_resolution is not None
        evaluation = self.active.evaluate(point, exact=self.exact, coarse=self.coarse)
        if self.coarse:
            least = SLOW_SHARE * self.active.coarse_resolution * abs(evaluation.value)
            self.slow = 0 if self.best.value - evaluation.value > least else self.slow + 1
        self.passes += 1
        self.record(evaluation)
        return evaluation

    def evaluate_balanced(self, point: Float, objective: Objective | None = None) -> Any:
        """The same at the optimal bias for the weights of the point."""
        self.active = objective or self.objective
        self.coarse = self.coarse_ahead = False
        evaluation = self.active.evaluate_balanced(point, exact=self.exact)
        self.count(1 + SCORES_PASS)
        self.record(evaluation)
        return evaluation

    def count(self, share: float = 1.0) -> None:
        """Add to the number of passes."""
        self.parts += share
        whole = int(self.parts)
        self.passes, self.parts = self.passes + whole, self.parts - whole

    def current(self, here: Any, objective: Objective | None = None) -> Any:
        """Repeat an evaluation in the current precision, if necessary: values of two precisions are not comparable."""
        if (self.coarse or not here.coarse) and (here.exact or not self.exact):
            return here
        return self.best if self.best.point is here.point else self.evaluate(here.point, objective)

    def coarsen(self) -> None:
        """Continue with coarse passes, if the objective is smooth and the gap is large."""
        far = self.gap > max(COARSE_GAP, self.tol)
        self.coarse_ahead = far and not self.exact and self.objective.smooth

    def refine(self) -> None:
        """End coarse passes, and discard values that were computed with them."""
        self.coarse = False
        # The coarse evaluation is kept until then: this pass may be interrupted.
        fine = self.active.evaluate(self.best.point, exact=self.exact)
        self.passes += 1
        self.best, self.bound = None, -np.inf
        self.idle, self.progress_value, self.progress_gap = 0, np.inf, np.inf
        self.record(fine)

    def record(self, evaluation: Evaluation) -> None:
        """Keep an evaluation if it improves the best value or bound."""
        size = largest(evaluation.gradient)
        if self.first_gradient is None:
            self.first_gradient = size
        self.last = evaluation.surrogate, size
        if self._better(evaluation, self.best):
            self.best = evaluation
        self.bound = max(self.bound, evaluation.bound)
        self._watch()
        if evaluation.exact:
            if self._better(evaluation, self.certified):
                self.certified = evaluation
            self.certified_bound = max(self.certified_bound, evaluation.bound)

    def _better(self, one: Evaluation, other: Evaluation | None) -> bool:
        """Whether an evaluation is better: lower or, without a bound and at equal values, with a smaller gradient."""
        if other is None:
            return True
        judged = self.objective.has_certificate or not self.objective.smooth or not (one.exact and other.exact)
        if judged or not abs(one.value - other.value) <= NOISE_DOUBLE * abs(other.value):
            return one.value < other.value
        return largest(one.gradient) < largest(other.gradient)

    def count_changes(self) -> None:
        """Record whether a step changed anything, if it evaluated a point in double precision."""
        if self.exact and self.passes > self.counted:
            self.changes.count(self.last[0], self.gap, self.last[1])
        self.counted = self.passes

    def _watch(self) -> None:
        """Count the evaluations in a row without progress in single precision."""
        value, gap = self.best.value, self.gap
        if self.progress_value - value > SEEN_DECREASE * abs(value) or gap < SEEN_GAP * self.progress_gap:
            self.idle, self.progress_value, self.progress_gap = 0, value, gap
        else:
            self.idle += 1

    def certify(self) -> bool:
        """Whether the gap, computed in float64, is at most tol. Spends passes only if it may be."""
        if self.coarse:
            if self.free_gap > max(COARSE_GAP, self.tol) and self.slow < MAX_SLOW:
                return False
            self.refine()
        if self._certified_gap() <= self.tol:
            return True
        if self.gap > self.tol:
            settled = self._settle_bias()
            if not settled and not self.exact and not self.coarse and self.idle >= MAX_IDLE:
                self.go_exact()
            return settled
        if self.exact:
            return False
        self._certify_point(self.best)
        if self._certified_gap() <= self.tol:
            return True
        if self._settle_bias():
            return True
        self.go_exact()  # the gap of float32 passes was too optimistic
        return False

    def go_exact(self) -> None:
        """Compute in float64 from here on, and discard values of float32 passes."""
        if self.exact and not self.coarse:
            return
        self.exact, self.coarse, self.coarse_ahead = True, False, False
        if self.best is None:
            return
        if self.certified is None or self.certified.point is not self.best.point:
            self._certify_point(self.best)
        self.best, self.bound = self.certified, self.certified_bound

    def recover(self, pairs: deque[Any] | None = None) -> bool:
        """After a failed step: whether there is something left to try before the method is stuck.

        First coarse passes end, then ``pairs`` are cleared, then passes in single precision end. Earlier evaluations
        may then be in another precision than later ones; see `current`.
        """
        if self.coarse:
            self.refine()
        elif pairs:
            pairs.clear()
        elif not self.exact:
            self.go_exact()
        else:
            return False
        return True

    def _certified_gap(self) -> float:
        return np.inf if self.certified is None else relative_gap(self.certified.value, self.certified_bound)

    def _certify_point(self, evaluation: Any) -> None:
        exact = self.active.evaluate(evaluation.point, exact=True)
        self.passes += 1
        self.record(exact)

    def _settle_bias(self) -> bool:
        """If only the sums of the residuals keep the gap open, run a pass at the optimal bias for the weights.

        If memory does not suffice for the scores of all rows, run a few passes at biases that approach it.
        """
        best = self.best
        if self.passes < self.next_bias_attempt:
            return False
        if self.free_gap > self.tol:
            return False
        self.bias_attempts += 1
        self.next_bias_attempt = self.passes + 2**self.bias_attempts
        if keeps_scores(self.objective.facts):
            self.record(self.active.evaluate_balanced(best.point, exact=True))
            self.count(1 + SCORES_PASS)
            return self._certified_gap() <= self.tol
        self._certify_point(best)  # compared with values in single precision, no step would be lower
        best = self.certified
        curvature = self.active.bias_curvature(best)
        for _ in range(BIAS_STEPS):
            moved = self.active.evaluate(self.active.move_bias(best, curvature), exact=True)
            self.passes += 1
            if not moved.value <= best.value + 1e-6 * abs(best.value):
                return False
            self.record(moved)
            best = moved
            if self._certified_gap() <= self.tol:
                return True
        return False

    def finish(self) -> None:
        """Ensure that the reported values were computed in float64."""
        if self.coarse:
            self.refine()
        if self.certified is None or self.certified.point is not self.best.point:
            self._certify_point(self.best)

    def flat(self, share: float) -> bool:
        """Without a certificate: whether the gradient is below ``share`` · tol times the first one."""
        return largest(self.best.gradient) <= share * self.tol * (self.first_gradient or 0.0)


def minimise_with(
    method: Method[Any],
    objective: Objective,
    start: Float,
    *,
    tol: float,
    max_iter: int,
    max_time: float | None = None,
    callback: Callback | None = None,
    after: Result | None = None,
) -> Result:
    """Run a method to a certified gap of ``tol``, or until another criterion ends it.

    ``after`` is the result of a run that this one continues: iterations, passes, seconds and history are added to its
    own, and passes are exact. If that run was ended by the time limit, the user or the callback, this one only
    certifies the starting point.
    """
    check_needs(method, objective.facts)
    exact = after is not None or is_small(objective.facts) or not objective.inexact_passes
    run = Run(objective, tol, max_time, exact=exact)
    history: list[Progress] = []
    iteration = 0
    if after is not None:
        history, iteration = list(after.history), after.iterations
        run.passes, run.began = after.passes, run.began - after.seconds

    def note() -> bool:
        progress = Progress(iteration, run.passes, run.seconds, run.best.value, run.gap, run.factorisations)
        history.append(progress)
        return callback is not None and bool(callback(progress))

    status: Status | None = None
    try:
        state = method.start(run, start)
        run.coarsen()
        status = "stopped" if note() else None
        if after is not None and after.status in ENDED_FROM_OUTSIDE:
            status = after.status
        while status is None:
            status = _ended(run, method.stuck(state) or run.changes.ended, iteration, max_iter)
            if status is None:
                before = run.seconds
                state = method.step(run, state)
                run.last_step = run.seconds - before
                run.count_changes()
                iteration += 1
                status = "stopped" if note() else None
    except KeyboardInterrupt:
        if run.best is None:
            raise
        status = "interrupted"
    try:
        run.finish()
    except KeyboardInterrupt:
        if status == "interrupted":  # interrupted a second time
            raise
        status = "interrupted"
        run.finish()
    certified = run.certified
    gap = relative_gap(certified.value, run.certified_bound)
    if gap <= tol:
        status = "converged"
    history.append(Progress(iteration, run.passes, run.seconds, certified.value, gap, run.factorisations))
    return Result(
        point=certified.point,
        value=certified.value,
        bound=run.certified_bound,
        gap=gap,
        status=status,
        iterations=iteration,
        passes=run.passes,
        seconds=run.seconds,
        history=history,
    )


def _ended(run: Run, stuck: bool, iteration: int, max_iter: int) -> Status | None:
    if run.objective.has_certificate:
        if run.certify():
            return "converged"
    elif run.objective.smooth:
        flat = run.flat(FLAT_GRADIENT)
        if run.coarse and (flat or run.slow >= MAX_SLOW):
            run.refine()  # F of rounded features has another minimum
        elif flat and not run.coarse:
            return "no_certificate"
        elif not run.exact and run.idle >= MAX_IDLE:
            run.go_exact()
    if stuck and run.exact:
        flat = not run.objective.has_certificate and run.objective.smooth and run.flat(1.0)
        return "no_certificate" if flat else "stalled"
    if iteration >= max_iter:
        return "max_iter"
    return "max_time" if run.out_of_time else None
