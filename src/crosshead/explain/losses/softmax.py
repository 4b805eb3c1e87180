"""The softmax loss, step by step: shift, exponentials, their sum, probabilities, −ln p of the true class."""

from __future__ import annotations

import numpy as np

from crosshead.explain.loss_steps import Lesson, as_tuple, class_lines, selection
from crosshead.explain.sample import Case
from crosshead.explain.steps import Line, Step
from crosshead.losses import functions
from crosshead.losses.protocol import Float


def probability_steps(case: Case) -> list[Step]:
    """From the scores to softmax(z)."""
    z = case.scores
    top = float(z.max())
    shifted = z - top
    power = np.exp(shifted)
    total = Line("sum S", "sum(e)", {"e": as_tuple(power)})

    def probability(c: int) -> Line:
        return Line(case.name(c), "e / S", {"e": float(power[c]), "S": total.value}, marked=case.marked(c))

    return [
        Step(
            "shift",
            "Shift the scores so that the largest is 0",
            "s_c = z_c − max z",
            class_lines(
                case,
                lambda c: Line(case.name(c), "z - top", {"z": float(z[c]), "top": top}, marked=case.marked(c)),
            ),
            None,
            "Softmax depends only on differences of scores, so this changes nothing; but no exponential can overflow."
            + selection(case),
        ),
        Step(
            "exponentials",
            "Exponentials and their sum",
            "e_c = exp(s_c), S = Σ_c e_c",
            class_lines(case, lambda c: Line(case.name(c), "exp(s)", {"s": float(shifted[c])}, marked=case.marked(c))),
            total,
            "Every score becomes a positive number; one point more of score makes it e ≈ 2.718 times larger.",
        ),
        Step(
            "probabilities",
            "Probabilities",
            "p_c = e_c / S",
            class_lines(case, probability),
            None,
            "Divided by their sum, the exponentials add up to 1: softmax(z).",
        ),
    ]


def target_step(case: Case) -> list[Step]:
    """What the target becomes under label smoothing, or as rows of probabilities; nothing for one plain class."""
    share, count = _smoothing(case), len(case.scores)
    if share == 0:
        if case.row is None:
            return []
        row = case.row
        lines = class_lines(case, lambda c: Line(case.name(c), "y", {"y": float(row[c])}))
        meaning = "The target is a distribution over the classes, not one class."
        return [Step("target", "The target distribution", "y_c", lines, None, meaning)]
    goal = case.goal

    def line(c: int) -> Line:
        numbers = {"eps": share, "y": float(goal[c]), "C": float(count)}
        return Line(case.name(c), "(1 - eps) * y + eps / C", numbers, marked=case.marked(c))

    return [
        Step(
            "target",
            "The smoothed target",
            "t_c = (1 − ε)·y_c + ε/C",
            class_lines(case, line),
            None,
            "Label smoothing takes the share ε from the true class and spreads it evenly over all C classes.",
        )
    ]


def _steps(case: Case) -> list[Step]:
    steps = [*probability_steps(case), *target_step(case)]
    return [*steps, _loss_step(case, steps[2])]


def _loss_step(case: Case, probabilities: Step) -> Step:
    z = case.scores
    shifted = z - z.max()
    sum_of_powers = float(np.exp(shifted).sum())
    if case.row is None and _smoothing(case) == 0:
        total = Line("loss", "ln(S) - s", {"S": sum_of_powers, "s": float(shifted[case.target])})
        own = next(line for line in probabilities.lines if line.marked)
        # Where the probability underflows its logarithm is lost, though ln S − s is not.
        same = (Line("−ln p", "-ln(p)", {"p": own.value}, "the same number"),) if own.value > 0 else ()
        return Step(
            "loss",
            "Loss",
            "ℓ = −ln p_y = ln S − s_y",
            same,
            total,
            "The loss is small where the true class has a high probability, and grows without bound as it goes to 0.",
        )
    goal = smoothed_goal(case)
    lines = class_lines(
        case,
        lambda c: Line(
            case.name(c),
            "t * (ln(S) - s)",
            {"t": float(goal[c]), "S": sum_of_powers, "s": float(shifted[c])},
            marked=case.marked(c),
        ),
    )
    terms = goal * (np.log(sum_of_powers) - shifted)
    return Step(
        "loss",
        "Loss",
        "ℓ = −Σ_c t_c·ln p_c = Σ_c t_c·(ln S − s_c)",
        lines,
        Line("loss", "sum(terms)", {"terms": as_tuple(terms)}),
        "Every class is charged −ln p, weighted by its share of the target.",
    )


def _gradient(case: Case) -> Step:
    p, goal = functions.softmax(case.scores), smoothed_goal(case)
    lines = class_lines(
        case,
        lambda c: Line(case.name(c), "p - y", {"p": float(p[c]), "y": float(goal[c])}, marked=case.marked(c)),
    )
    return Step(
        "gradient",
        "Gradient on the scores",
        "∂ℓ/∂z_c = p_c − y_c",
        lines,
        None,
        "Probability minus target: the true class's score is pushed up, the others down in proportion to what they "
        "wrongly hold. The entries add up to 0.",
    )


def _charge(case: Case, column: int) -> Line:
    shifted = case.scores - case.scores.max()
    numbers = {"S": float(np.exp(shifted).sum()), "s": float(shifted[column])}
    share = _smoothing(case)
    if share == 0:
        return Line(case.name(column), "ln(S) - s", numbers, marked=case.marked(column))
    numbers |= {"eps": share, "mean": float(shifted.mean())}
    return Line(case.name(column), "ln(S) - (1 - eps) * s - eps * mean", numbers, marked=case.marked(column))


def smoothed_goal(case: Case) -> Float:
    """The target as probabilities after label smoothing, (C,)."""
    share = _smoothing(case)
    return (1 - share) * case.goal + share / len(case.scores)


def _smoothing(case: Case) -> float:
    return float(getattr(case.loss, "label_smoothing", 0.0))


SOFTMAX = Lesson(_steps, _gradient, _charge, "nats")


def jacobian_step(case: Case) -> Step:
    """∂p_i/∂z_j of softmax, entry by entry, among the classes that are shown."""
    p = functions.softmax(case.scores)

    def line(i: int, j: int) -> Line:
        expression = "p_i * (1 - p_j)" if i == j else "p_i * (0 - p_j)"
        label = f"∂p[{case.name(i)}]/∂z[{case.name(j)}]"
        return Line(label, expression, {"p_i": float(p[i]), "p_j": float(p[j])})

    return Step(
        "jacobian",
        "Jacobian of softmax",
        "∂p_i/∂z_j = p_i·(δ_ij − p_j)",
        tuple(line(i, j) for i in case.shown for j in case.shown),
        None,
        "How each probability answers to each score. It is symmetric, and every row adds up to 0: what one class gains "
        "the others lose." + selection(case),
    )
