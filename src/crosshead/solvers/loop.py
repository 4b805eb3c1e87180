"""The one loop of all solvers: step, record, certify, stop.

A method proposes points; the loop keeps the best value and the best bound, decides when to spend an exact pass on a
certificate, and is the only place that says how a fit ended.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np

from crosshead.objective.facts import Facts, Trait
from crosshead.solvers.costs import SCORES_PASS, keeps_scores, small
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
COARSE_GAP = 1e-2  # below it passes are no longer coarse
SLOW_SHARE, MOST_SLOW = 0.1, 4  # nor after so many in turn that gained less than this share of their resolution
SEEN_DECREASE, SEEN_GAP = 1e-6, 0.99  # of F, and the share of the gap: less is not progress in single precision
MOST_IDLE = 10  # evaluations in turn without, after which passes are exact
GAP_CHANGE, GRADIENT_CHANGE = 0.999, 0.5  # shares of the smallest so far that are a change
LATE_SHARE, LATE_SECONDS = 0.03, 0.1  # of max_time, and seconds, by which a fit may end late
MOST_UNCHANGED = 10  # steps in turn that change nothing, after which a fit has ended
BIAS_STEPS = 4  # Newton steps on the bias alone that one certificate may cost where the scores are not kept
FLAT_GRADIENT = (
    1e-3  # alpha = 0: the share of tol by which the gradient is to fall; tol itself where nothing more moves
)


class Method(Protocol[State]):
    """One way to minimise: a first state, and a step to the next. A state says where it is and whether it is stuck.

    ``title`` is what it is called in the table of methods, ``needs`` what it asks of an objective.
    """

    title: ClassVar[str]
    needs: ClassVar[frozenset[Trait]]

    def start(self, run: Run, point: Float) -> State:
        """The state at the starting point."""
        ...

    def step(self, run: Run, state: State) -> State:
        """The next state."""
        ...

    def stuck(self, state: State) -> bool:
        """Whether no step made progress."""
        ...


def check_needs(method: Method[Any], facts: Facts) -> None:
    """Raise ValueError where a method asks for what the objective is not or has not."""
    missing = sorted(method.needs - facts.traits)
    if missing:
        raise ValueError(f"{type(method).__name__} needs {', '.join(missing)}: this objective does not offer it")


@dataclass
class Changes:
    """Whether steps in double precision still change a value, the gap or the gradient.

    A value counts as changed where it moved, since its last change, by more than double precision rounds it; gap and
    gradient where they fell. A state that repeats itself changes none of them, whatever its last digits do.
    """

    value: float = np.nan
    gap: float = np.inf
    gradient: float = np.inf
    unchanged: int = 0

    def count(self, value: float, gap: float, gradient: float) -> None:
        """Take note of a step's last evaluation."""
        moved = not abs(value - self.value) <= NOISE_DOUBLE * abs(self.value)
        if moved or gap < GAP_CHANGE * self.gap or gradient < GRADIENT_CHANGE * self.gradient:
            self.value, self.unchanged = value, 0
            self.gap, self.gradient = min(gap, self.gap), gradient if moved else min(gradient, self.gradient)
        else:
            self.unchanged += 1

    @property
    def ended(self) -> bool:
        """Whether so many steps changed nothing that no more will."""
        return self.unchanged >= MOST_UNCHANGED


@dataclass
class Run:
    """A fit under way: the objective, what it has cost, and the best it has found."""

    objective: Objective
    tol: float
    max_time: float | None
    exact: bool
    began: float = field(default_factory=time.perf_counter)
    passes: int = 0
    parts: float = 0.0  # of the next pass
    sweeps: float = 0.0  # over the rows, by coordinate ascent
    between: float = 0.0  # passes' worth of products and factorisations between passes, as far as they are counted
    residual: Float | None = None  # (N, C), that methods of the dual problem have come to
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
    last_step: float = 0.0  # its seconds

    @property
    def seconds(self) -> float:
        """Seconds since the fit began."""
        return time.perf_counter() - self.began

    @property
    def cost(self) -> float:
        """What has been spent, in passes; a sweep over the rows is one."""
        return self.passes + self.parts + self.sweeps + self.between

    @property
    def seconds_left(self) -> float:
        """Of the time budget; inf where there is none."""
        return np.inf if self.max_time is None else max(0.0, self.max_time - self.seconds)

    @property
    def out_of_time(self) -> bool:
        """Whether the time budget is used up, or one more step as long as the last would go far beyond it."""
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
        """The same, were the residuals' sums of the best evaluation already zero."""
        return min(self.gap, relative_gap(self.best.value, self.active.free_bound(self.best)))

    def begin(self, point: Float, objective: Objective | None = None) -> Any:
        """An evaluation at a point that a method starts from: the best one where that is there."""
        if self.best is None or self.best.point is not point or not self.objective.smooth or objective is not None:
            return self.evaluate(point, objective)
        return self.current(self.best)

    def evaluate(self, point: Float, objective: Objective | None = None) -> Any:
        """A pass at a point, counted, remembered if it is the best. ``objective`` may be a smoothed relative."""
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
        """The same with the bias that is best for the point's weights."""
        self.active = objective or self.objective
        self.coarse = self.coarse_ahead = False
        evaluation = self.active.evaluate_balanced(point, exact=self.exact)
        self.count(1 + SCORES_PASS)
        self.record(evaluation)
        return evaluation

    def count(self, share: float = 1.0) -> None:
        """So many passes more."""
        self.parts += share
        whole = int(self.parts)
        self.passes, self.parts = self.passes + whole, self.parts - whole

    def current(self, here: Any, objective: Objective | None = None) -> Any:
        """An evaluation in the precision of the passes to come: values of two precisions are not to be compared."""
        if (self.coarse or not here.coarse) and (here.exact or not self.exact):
            return here
        return self.best if self.best.point is here.point else self.evaluate(here.point, objective)

    def coarsen(self) -> None:
        """Go on by coarse passes from the next one on, where the objective is smooth and far is still to go."""
        far = self.gap > max(COARSE_GAP, self.tol)
        self.coarse_ahead = far and not self.exact and self.objective.smooth

    def refine(self) -> None:
        """No more coarse passes; forget what they made look better or worse than it is."""
        self.coarse = False
        # While the coarse one is kept: this pass may be interrupted.
        fine = self.active.evaluate(self.best.point, exact=self.exact)
        self.passes += 1
        self.best, self.bound = None, -np.inf
        self.idle, self.progress_value, self.progress_gap = 0, np.inf, np.inf
        self.record(fine)

    def record(self, evaluation: Evaluation) -> None:
        """Keep what is better than before."""
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
        """Whether an evaluation is better: lower; or, where no bound judges and both are as low, flatter."""
        if other is None:
            return True
        judged = self.objective.has_certificate or not self.objective.smooth or not (one.exact and other.exact)
        if judged or not abs(one.value - other.value) <= NOISE_DOUBLE * abs(other.value):
            return one.value < other.value
        return largest(one.gradient) < largest(other.gradient)

    def count_changes(self) -> None:
        """After a step: whether it changed anything. Counts steps in double precision that evaluated a point."""
        if self.exact and self.passes > self.counted:
            self.changes.count(self.last[0], self.gap, self.last[1])
        self.counted = self.passes

    def _watch(self) -> None:
        """Count the evaluations in turn that brought nothing that single precision could see."""
        value, gap = self.best.value, self.gap
        if self.progress_value - value > SEEN_DECREASE * abs(value) or gap < SEEN_GAP * self.progress_gap:
            self.idle, self.progress_value, self.progress_gap = 0, value, gap
        else:
            self.idle += 1

    def certify(self) -> bool:
        """Whether the gap, computed in float64, is at most tol. Spends passes only where it may be."""
        if self.coarse:
            if self.free_gap > max(COARSE_GAP, self.tol) and self.slow < MOST_SLOW:
                return False
            self.refine()
        if self._certified_gap() <= self.tol:
            return True
        if self.gap > self.tol:
            settled = self._settle_bias()
            if not settled and not self.exact and not self.coarse and self.idle >= MOST_IDLE:
                self.go_exact()
            return settled
        if self.exact:
            return False
        self._certify_point(self.best)
        if self._certified_gap() <= self.tol:
            return True
        if self._settle_bias():
            return True
        self.go_exact()  # float32 passes promised more than they keep
        return False

    def go_exact(self) -> None:
        """From here on compute in float64, and forget what float32 made look better than it is."""
        if self.exact and not self.coarse:
            return
        self.exact, self.coarse, self.coarse_ahead = True, False, False
        if self.best is None:
            return
        if self.certified is None or self.certified.point is not self.best.point:
            self._certify_point(self.best)
        self.best, self.bound = self.certified, self.certified_bound

    def recover(self, pairs: deque[Any] | None = None) -> bool:
        """After a step that led nowhere: whether there is something to try before the method is stuck.

        Coarse passes end first, then what was learnt in ``pairs`` is forgotten, then passes in single precision end.
        Evaluations so far are in another precision than those to come: `current`.
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
        """Where only the residuals' sums keep the gap open, a pass at the bias that is best for the weights.

        Where the scores of all rows would take too much room, a few passes at biases that come near it.
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
        self._certify_point(best)  # values in single precision would say that no step is lower
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
        """Make sure that what is reported was computed in float64."""
        if self.coarse:
            self.refine()
        if self.certified is None or self.certified.point is not self.best.point:
            self._certify_point(self.best)

    def flat(self, share: float) -> bool:
        """Without a certificate: whether the gradient is ``share`` times tol below the first."""
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
    """Run a method to a certified gap of ``tol``, or until something else ends it.

    ``after`` is the result of a run whose work this one takes further: iterations, passes, seconds and history go on
    from there, passes are exact, and where that one was ended from outside, this one only certifies the starting point.
    """
    check_needs(method, objective.facts)
    exact = after is not None or small(objective.facts) or not objective.inexact_passes
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
        if status == "interrupted":  # asked a second time
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
        if run.coarse and (flat or run.slow >= MOST_SLOW):
            run.refine()  # rounded features are flat elsewhere
        elif flat and not run.coarse:
            return "no_certificate"
        elif not run.exact and run.idle >= MOST_IDLE:
            run.go_exact()
    if stuck and run.exact:
        flat = not run.objective.has_certificate and run.objective.smooth and run.flat(1.0)
        return "no_certificate" if flat else "stalled"
    if iteration >= max_iter:
        return "max_iter"
    return "max_time" if run.out_of_time else None
