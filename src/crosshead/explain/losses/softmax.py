"""Steps for the softmax loss: shift, exponentials, their sum, probabilities, −ln p of the true class."""

from __future__ import annotations

import numpy as np

from crosshead.explain.loss_steps import LossSteps, as_tuple, class_lines, selection
from crosshead.explain.sample import Sample
from crosshead.explain.steps import Line, Step
from crosshead.losses import functions
from crosshead.losses.protocol import Float


def probability_steps(sample: Sample) -> list[Step]:
    """The steps from the scores z to softmax(z)."""
    z = sample.scores
    top = float(z.max())
    shifted = z - top
    power = np.exp(shifted)
    total = Line("sum S", "sum(e)", {"e": as_tuple(power)})

    def probability(c: int) -> Line:
        return Line(sample.name(c), "e / S", {"e": float(power[c]), "S": total.value}, marked=sample.marked(c))

    return [
        Step(
            "shift",
            "Shift the scores so that the largest is 0",
            "s_c = z_c − max z",
            class_lines(
                sample,
                lambda c: Line(sample.name(c), "z - top", {"z": float(z[c]), "top": top}, marked=sample.marked(c)),
            ),
            None,
            "Softmax depends only on differences of scores, so this changes nothing; but no exponential can overflow."
            + selection(sample),
        ),
        Step(
            "exponentials",
            "Exponentials and their sum",
            "e_c = exp(s_c), S = Σ_c e_c",
            class_lines(
                sample, lambda c: Line(sample.name(c), "exp(s)", {"s": float(shifted[c])}, marked=sample.marked(c))
            ),
            total,
            "Every score becomes a positive number; increasing a score by 1 multiplies it by e ≈ 2.718.",
        ),
        Step(
            "probabilities",
            "Probabilities",
            "p_c = e_c / S",
            class_lines(sample, probability),
            None,
            "Divided by their sum, the exponentials sum to 1: softmax(z).",
        ),
    ]


def target_step(sample: Sample) -> list[Step]:
    """The target as a distribution, with label smoothing or from given probabilities; empty for a plain class index."""
    share, count = _smoothing(sample), len(sample.scores)
    if share == 0:
        if sample.row is None:
            return []
        row = sample.row
        lines = class_lines(sample, lambda c: Line(sample.name(c), "y", {"y": float(row[c])}))
        meaning = "The target is a distribution over the classes, not one class."
        return [Step("target", "The target distribution", "y_c", lines, None, meaning)]
    goal = sample.goal

    def line(c: int) -> Line:
        numbers = {"eps": share, "y": float(goal[c]), "C": float(count)}
        return Line(sample.name(c), "(1 - eps) * y + eps / C", numbers, marked=sample.marked(c))

    return [
        Step(
            "target",
            "The smoothed target",
            "t_c = (1 − ε)·y_c + ε/C",
            class_lines(sample, line),
            None,
            "Label smoothing moves the share ε from the true class evenly to all C classes.",
        )
    ]


def _steps(sample: Sample) -> list[Step]:
    steps = [*probability_steps(sample), *target_step(sample)]
    return [*steps, _loss_step(sample, steps[2])]


def _loss_step(sample: Sample, probabilities: Step) -> Step:
    z = sample.scores
    shifted = z - z.max()
    sum_of_powers = float(np.exp(shifted).sum())
    if sample.row is None and _smoothing(sample) == 0:
        total = Line("loss", "ln(S) - s", {"S": sum_of_powers, "s": float(shifted[sample.target])})
        own = next(line for line in probabilities.lines if line.marked)
        # If the probability underflows, ln p is −∞ while ln S − s is still exact.
        same = (Line("−ln p", "-ln(p)", {"p": own.value}, "the same number"),) if own.value > 0 else ()
        return Step(
            "loss",
            "Loss",
            "ℓ = −ln p_y = ln S − s_y",
            same,
            total,
            "The loss is small where the true class has a high probability, and grows without bound as it goes to 0.",
        )
    goal = smoothed_goal(sample)
    lines = class_lines(
        sample,
        lambda c: Line(
            sample.name(c),
            "t * (ln(S) - s)",
            {"t": float(goal[c]), "S": sum_of_powers, "s": float(shifted[c])},
            marked=sample.marked(c),
        ),
    )
    terms = goal * (np.log(sum_of_powers) - shifted)
    return Step(
        "loss",
        "Loss",
        "ℓ = −Σ_c t_c·ln p_c = Σ_c t_c·(ln S − s_c)",
        lines,
        Line("loss", "sum(terms)", {"terms": as_tuple(terms)}),
        "Each class contributes −ln p times its target probability.",
    )


def _gradient(sample: Sample) -> Step:
    p, goal = functions.softmax(sample.scores), smoothed_goal(sample)
    lines = class_lines(
        sample,
        lambda c: Line(sample.name(c), "p - y", {"p": float(p[c]), "y": float(goal[c])}, marked=sample.marked(c)),
    )
    return Step(
        "gradient",
        "Gradient on the scores",
        "∂ℓ/∂z_c = p_c − y_c",
        lines,
        None,
        "Probability minus target: gradient descent raises the true class's score and lowers the others in proportion "
        "to their probabilities. The entries sum to 0.",
    )


def _alternative(sample: Sample, column: int) -> Line:
    shifted = sample.scores - sample.scores.max()
    numbers = {"S": float(np.exp(shifted).sum()), "s": float(shifted[column])}
    share = _smoothing(sample)
    if share == 0:
        return Line(sample.name(column), "ln(S) - s", numbers, marked=sample.marked(column))
    numbers |= {"eps": share, "mean": float(shifted.mean())}
    return Line(sample.name(column), "ln(S) - (1 - eps) * s - eps * mean", numbers, marked=sample.marked(column))


def smoothed_goal(sample: Sample) -> Float:
    """The target as probabilities after label smoothing, (C,)."""
    share = _smoothing(sample)
    return (1 - share) * sample.goal + share / len(sample.scores)


def _smoothing(sample: Sample) -> float:
    return float(getattr(sample.loss, "label_smoothing", 0.0))


SOFTMAX = LossSteps(_steps, _gradient, _alternative, "nats")


def jacobian_step(sample: Sample) -> Step:
    """∂p_i/∂z_j of softmax, entry by entry, for the classes shown."""
    p = functions.softmax(sample.scores)

    def line(i: int, j: int) -> Line:
        expression = "p_i * (1 - p_j)" if i == j else "p_i * (0 - p_j)"
        label = f"∂p[{sample.name(i)}]/∂z[{sample.name(j)}]"
        return Line(label, expression, {"p_i": float(p[i]), "p_j": float(p[j])})

    return Step(
        "jacobian",
        "Jacobian of softmax",
        "∂p_i/∂z_j = p_i·(δ_ij − p_j)",
        tuple(line(i, j) for i in sample.shown for j in sample.shown),
        None,
        "How each probability changes with each score. The matrix is symmetric and its rows sum to 0: what one class "
        "gains the others lose." + selection(sample),
    )
