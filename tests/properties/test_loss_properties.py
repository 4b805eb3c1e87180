"""What every loss must satisfy, whichever it is: each case below runs on all of the registry."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from crosshead.losses import LOSSES, get_loss

SMOOTHED = [("hinge", {"smoothing": 0.3}), ("crammer_singer", {"smoothing": 0.4, "margin": 1.5})]
VARIANTS: list[tuple[str, dict[str, float]]] = [
    *((name, {}) for name in LOSSES),
    *SMOOTHED,
    ("softmax", {"label_smoothing": 0.2}),
    ("squared_hinge", {"margin": 0.5}),
]
ALL = [get_loss(name, **parameters) for name, parameters in VARIANTS]
SMOOTH = [loss for loss in ALL if loss.smooth]
KINKED = [loss for loss in ALL if not loss.smooth]
HINGES = [loss for loss in ALL if "hinge" in loss.name or loss.name == "crammer_singer"]


def named(losses: list[Any]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("loss", losses, ids=repr)


def sample(loss: Any, seed: int, n: int = 23, classes: int = 4, *, rows: bool = False) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    scores = random.normal(scale=1.5, size=(n, classes))
    if rows:
        return scores, random.dirichlet(np.ones(classes), size=n)
    return scores, random.integers(-1 if loss.name == "binary" else 0, classes, size=n)


def targets(loss: Any, seed: int, **shape: int) -> list[tuple[Any, Any]]:
    kinds = [False, True] if loss.accepts_probabilities else [False]
    return [sample(loss, seed, rows=rows, **shape) for rows in kinds]


def feasible(loss: Any, target: Any, classes: int, seed: int) -> Any:
    """Random residuals in the conjugate's domain: gradients anywhere are, and so are their mixtures."""
    random = np.random.default_rng(seed)
    first, second = (
        loss.value_and_gradient(random.normal(scale=3, size=(len(target), classes)), target)[1] for _ in range(2)
    )
    share = random.uniform(size=(len(target), 1))
    return share * first + (1 - share) * second


@named(SMOOTH)
@pytest.mark.parametrize("classes", [2, 5])
def test_gradient_matches_central_differences(loss: Any, classes: int) -> None:
    for scores, target in targets(loss, 1, classes=classes):
        step = 1e-6
        _, gradient = loss.value_and_gradient(scores, target)
        for c in range(classes):
            shift = step * np.eye(classes)[c]
            slope = (loss.value(scores + shift, target) - loss.value(scores - shift, target)) / (2 * step)
            # A kink of the gradient within the step costs half the step times the curvature.
            np.testing.assert_allclose(gradient[:, c], slope, atol=2e-5)


@named(ALL)
def test_gradient_supports_the_loss_from_below(loss: Any) -> None:
    for scores, target in targets(loss, 2):
        other = np.random.default_rng(3).normal(scale=4, size=scores.shape)
        value, gradient = loss.value_and_gradient(scores, target)
        tangent = value + (gradient * (other - scores)).sum(axis=1)
        assert (loss.value(other, target) >= tangent - 1e-9).all()


@named(ALL)
def test_convex_along_segments(loss: Any) -> None:
    random = np.random.default_rng(4)
    for start, target in targets(loss, 5):
        end = random.normal(scale=5, size=start.shape)
        share = random.uniform(size=(len(start), 1))
        middle = loss.value(share * start + (1 - share) * end, target)
        chord = share[:, 0] * loss.value(start, target) + (1 - share[:, 0]) * loss.value(end, target)
        assert (middle <= chord + 1e-9).all()


@named(ALL)
def test_value_agrees_with_value_and_gradient(loss: Any) -> None:
    for scores, target in targets(loss, 6):
        np.testing.assert_array_equal(loss.value(scores, target), loss.value_and_gradient(scores, target)[0])


@named(ALL)
def test_arguments_are_left_alone(loss: Any) -> None:
    for scores, target in targets(loss, 6):
        scores.flags.writeable = target.flags.writeable = False
        _, residual = loss.value_and_gradient(scores, target)
        residual.flags.writeable = False
        loss.conjugate(residual, target)
        loss.infimum(target)
        if loss.smooth:
            loss.curvature(scores, target, np.ones(len(scores)))


@named(ALL)
def test_fenchel_young_inequality(loss: Any) -> None:
    original = loss.smoothed(0) if loss.name in ("hinge", "crammer_singer") else loss
    for scores, target in targets(loss, 7):
        residual = feasible(loss, target, scores.shape[1], 8)
        conjugate = loss.conjugate(residual, target)
        assert np.isfinite(conjugate).all()
        gap = original.value(scores, target) + conjugate - (residual * scores).sum(axis=1)
        assert (gap >= -1e-9).all()


@named([loss for loss in ALL if loss.kernel[1][1] == 0])
def test_fenchel_young_equality_at_the_gradient(loss: Any) -> None:
    # Not for smoothed losses: their conjugate is that of the loss without smoothing.
    for scores, target in targets(loss, 9):
        value, residual = loss.value_and_gradient(scores, target)
        np.testing.assert_allclose(value + loss.conjugate(residual, target), (residual * scores).sum(axis=1), atol=1e-9)


@named([get_loss(name, **parameters) for name, parameters in SMOOTHED])
def test_smoothed_value_is_the_best_residual_less_its_square(loss: Any) -> None:
    original, smoothing = loss.smoothed(0), loss.smoothing
    scores, target = sample(loss, 10, n=40)
    value, residual = loss.value_and_gradient(scores, target)
    rows = np.arange(len(target))

    def worth(r: Any) -> Any:
        off_target = r.copy()
        off_target[rows, target] = 0
        linear = (r * scores).sum(axis=1) - original.conjugate(r, target)
        return linear - smoothing / 2 * (off_target**2).sum(axis=1)

    np.testing.assert_allclose(value, worth(residual), atol=1e-12)
    for seed in range(20):  # no other feasible residual does better
        assert (worth(feasible(loss, target, 4, seed)) <= value + 1e-12).all()
        near = residual + 0.1 * (feasible(loss, target, 4, seed) - residual)
        assert (worth(near) <= value + 1e-12).all()
    below = original.value(scores, target) - value
    assert (below >= -1e-12).all()
    assert (below <= smoothing / 2 * (3 if loss.name == "hinge" else 1) + 1e-12).all()


@named(ALL)
@pytest.mark.parametrize("classes", [2, 3])
def test_conjugate_is_the_supremum(loss: Any, classes: int) -> None:
    original = loss.smoothed(0) if loss.name in ("hinge", "crammer_singer") else loss
    for _, target in targets(loss, 11, n=3, classes=classes):
        residual = feasible(loss, target, classes, 12)
        expected = loss.conjugate(residual, target)
        for row in range(3):
            one = target[row : row + 1]

            def negative(z: Any, one: Any = one, r: Any = residual[row]) -> float:
                return float(original.value(z[None], one)[0] - r @ z)

            starts = [np.zeros(classes), original.margin * np.eye(classes)[one[0]]] if loss in HINGES else []
            best = min(
                minimize(negative, start, method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-10}).fun
                for start in starts or [np.zeros(classes)]
            )
            assert -best == pytest.approx(expected[row], abs=1e-5)


@named([loss for loss in ALL if loss.name != "squared_error"])  # that one is finite everywhere
def test_conjugate_is_infinite_outside_its_domain(loss: Any) -> None:
    scores, target = sample(loss, 13)
    _, residual = loss.value_and_gradient(scores, target)
    for wrong in (residual + 3, residual - 3, np.full_like(residual, 3.0)):
        assert np.isposinf(loss.conjugate(wrong, target)).all()


@named(ALL)
def test_infimum_is_reached_and_never_passed(loss: Any) -> None:
    for scores, target in targets(loss, 14):
        infimum = loss.infimum(target)
        assert infimum.shape == (len(target),)
        np.testing.assert_allclose(infimum, -loss.conjugate(np.zeros_like(scores), target), atol=1e-12)
        assert (loss.value(scores, target) >= infimum - 1e-12).all()


@named(SMOOTH)
@pytest.mark.parametrize("classes", [2, 4])
def test_curvature_matches_differences_of_the_gradient(loss: Any, classes: int) -> None:
    step = 1e-6
    for scores, target in targets(loss, 15, classes=classes):
        weight = np.random.default_rng(16).uniform(size=len(scores))
        hessians = np.empty((len(scores), classes, classes))
        for c in range(classes):
            shift = step * np.eye(classes)[c]
            hessians[:, :, c] = (
                loss.value_and_gradient(scores + shift, target)[1] - loss.value_and_gradient(scores - shift, target)[1]
            ) / (2 * step)
        curvature = loss.curvature(scores, target, weight)
        expected = np.einsum("i,icd->cd", weight, hessians)
        np.testing.assert_allclose(curvature.classes, expected, atol=1e-6)
        np.testing.assert_allclose(curvature.rows, np.trace(hessians, axis1=1, axis2=2), atol=1e-6)
        assert np.linalg.eigvalsh(hessians).max() <= loss.curvature_bound() + 1e-6


@named(KINKED)
def test_kinked_losses_refuse_curvature(loss: Any) -> None:
    scores, target = sample(loss, 17)
    with pytest.raises(ValueError, match="smooth it first"):
        loss.curvature(scores, target, np.ones(len(scores)))
    assert loss.smoothed(0.1).smooth
    assert loss.smoothed(0.1).smoothed(0) == loss


@named(ALL)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_precision_is_kept(loss: Any, dtype: Any) -> None:
    for scores, target in targets(loss, 18):
        truth, direction = loss.value_and_gradient(scores.astype(np.float32).astype(np.float64), target)
        scores = scores.astype(np.float32).astype(dtype)
        value, gradient = loss.value_and_gradient(scores, target)
        for array in (value, gradient, loss.value(scores, target), loss.conjugate(gradient, target)):
            assert array.dtype == dtype
        assert np.isfinite(loss.conjugate(gradient, target)).all()
        np.testing.assert_allclose(value, truth, rtol=1e-5, atol=2e-6)
        np.testing.assert_allclose(gradient, direction, atol=1e-5)


@named(ALL)
def test_parameters_from_numpy_do_not_change_the_precision(loss: Any) -> None:
    same = type(loss)(**{name: np.float64(number) for name, number in vars(loss).items()})
    assert same == loss
    scores, target = sample(loss, 19)
    for array in same.value_and_gradient(scores.astype(np.float32), target):
        assert array.dtype == np.float32


@named(ALL)
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_extreme_scores_stay_finite(loss: Any, size: float) -> None:
    scores = (size * np.array([[1, -1, 0], [1, 1, 1], [-1, 1, -1], [0, 1e-4, 1]])).astype(np.float32)
    target = np.array([0, 1, 2, 0])
    value, gradient = loss.value_and_gradient(scores, target)
    assert np.isfinite(value).all()
    assert np.isfinite(gradient).all()
    assert (value >= 0).all()
    assert np.isfinite(loss.conjugate(gradient, target)).all()
    if loss.has_probabilities:
        np.testing.assert_allclose(loss.predict_proba(scores).sum(axis=1), 1, rtol=1e-6)
    if loss.smooth:
        curvature = loss.curvature(scores, target, np.full(4, 0.25))
        assert np.isfinite(curvature.classes).all()
        assert np.isfinite(curvature.rows).all()


@named(ALL)
@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (1, 2), (7, 1)])
def test_odd_shapes(loss: Any, shape: tuple[int, int]) -> None:
    scores, target = np.full(shape, 0.5), np.zeros(shape[0], dtype=int)
    value, gradient = loss.value_and_gradient(scores, target)
    assert (value.shape, gradient.shape) == (shape[:1], shape)
    assert loss.conjugate(gradient, target).shape == shape[:1]
    assert loss.infimum(target).shape == shape[:1]
    if loss.smooth:
        curvature = loss.curvature(scores, target, np.ones(shape[0]))
        assert curvature.classes.shape == (shape[1], shape[1])
        assert curvature.rows.shape == shape[:1]


@named(ALL)
def test_targets_that_do_not_fit_are_refused(loss: Any) -> None:
    scores = np.zeros((3, 4))
    with pytest.raises(ValueError, match=r"target 4 in row 1 is outside -?\d\.\.3"):
        loss.value(scores, [0, 4, 1])
    with pytest.raises(ValueError, match="class indices of shape"):
        loss.value(scores, [0, 1])
    with pytest.raises(ValueError, match="integers"):
        loss.value(scores, [0.0, 1.0, 2.0])
    with pytest.raises(ValueError, match="scores must have shape"):
        loss.value(np.zeros(3), [0, 1, 2])
    if loss.name == "binary":
        loss.value(scores, [0, -1, 1])
    else:
        with pytest.raises(ValueError, match=r"target -1 in row 1 is outside 0\.\.3"):
            loss.value(scores, [0, -1, 1])
    rows = np.full((3, 4), 0.25)
    if loss.accepts_probabilities:
        with pytest.raises(ValueError, match="same shape"):
            loss.value(scores, rows[:, :3])
    else:
        with pytest.raises(ValueError, match="class indices"):
            loss.value(scores, rows)


@named(ALL)
def test_the_loss_describes_itself(loss: Any) -> None:
    kernel, parameters = loss.kernel
    assert kernel == loss.name
    assert LOSSES[loss.name] is type(loss)
    assert len(parameters) == 3
    assert parameters[0] == getattr(loss, "margin", 0.0)
    assert parameters[1] == getattr(loss, "smoothing", 0.0)
    assert parameters[2] == getattr(loss, "label_smoothing", 0.0)
    if not loss.has_probabilities:
        with pytest.raises(ValueError, match="no probability model"):
            loss.predict_proba(np.zeros((1, 2)))
