from __future__ import annotations

import copy
import math

import pytest
import torch
from torch.nn import functional as F

from crosshead.nn import MarginHead, RowSparseAdam, RowSparseSGD
from crosshead.nn.functional import linear_margin_cross_entropy
from crosshead.nn.losses.adaptive_margin import NormMargins

D, C = 6, 40


def batch(rows=9, *, classes=C, dtype=torch.float64, size=1.0):
    generator = torch.Generator().manual_seed(1)
    features = size * torch.randn(rows, D, generator=generator, dtype=torch.float64)
    return features.to(dtype).requires_grad_(), torch.randint(classes, (rows,), generator=generator)


def head(*args, **options):
    return MarginHead(D, C, *args, **{"dtype": torch.float64, **options})


class TestLoss:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"m1": 1.2, "m2": 0.1, "m3": 0.2, "scale": 16.0},
            {"easy_margin": True, "margin_gradient": "insightface"},
            {"sub_centers": 3, "label_smoothing": 0.1, "reduction": "sum"},
            {"weight": torch.linspace(0.5, 1.5, C), "ignore_index": 3, "reduction": "none"},
        ],
    )
    def test_every_option_is_that_of_the_function(self, options):
        made = head(**options)
        features, target = batch()
        target[0] = 3
        found = made(features, target)
        function = linear_margin_cross_entropy
        assert (found == function(features, made.weight, target, **options)).all()
        for name in options.keys() & {"m1", "m2", "m3", "scale", "label_smoothing"}:
            others = {key: value for key, value in options.items() if key != name}
            assert (function(features, made.weight, target, **others) != found).any(), name

    def test_the_head_reads_easy_margin_and_the_kind_of_gradient(self):
        torch.manual_seed(0)
        plain = head()
        features, target = batch()
        losses, slopes = [], []
        for options in ({}, {"easy_margin": True}, {"margin_gradient": "insightface"}):
            made = head(**options)
            made.weight.data.copy_(plain.weight.data)
            losses.append(made(features, target))
            slopes.append(torch.autograd.grad(losses[-1], features)[0])
        assert losses[1] < losses[0] == losses[2]
        assert (slopes[2] - slopes[0]).abs().max() > 0.1

    def test_a_first_loss_is_that_of_guessing(self):
        features, target = torch.randn(500, 64), torch.randint(1000, (500,))
        loss = MarginHead(64, 1000, m2=0.0, scale=1.0)(features, target)
        assert loss.item() == pytest.approx(math.log(1000), rel=0.01)

    def test_all_ignored(self):
        features, target = batch()
        assert head()(features, torch.full_like(target, -100)).isnan()
        assert head(all_ignored="zero")(features, torch.full_like(target, -100)) == 0


class TestScores:
    @pytest.mark.parametrize("centres", [1, 3])
    def test_scores_and_predictions_are_scaled_cosines(self, centres):
        made = head(scale=10.0, sub_centers=centres)
        features = torch.randn(2, 5, D, dtype=torch.float64)
        cosine = F.cosine_similarity(features[..., None, :], made.weight, dim=-1)
        scores = 10 * cosine.unflatten(-1, (C, centres)).amax(dim=-1)
        torch.testing.assert_close(made.scores(features), scores)
        found = made.predict(features, k=4)
        values, classes = scores.topk(4)
        assert (found.classes == classes).all()
        torch.testing.assert_close(found.scores, values.detach())
        torch.testing.assert_close(found.confidence, scores.softmax(dim=-1).gather(-1, classes).detach())

    def test_scores_have_gradients_and_predictions_have_none(self):
        made, (features, _) = head(), batch()
        made.scores(features).sum().backward()
        assert features.grad is not None
        assert not made.predict(features).scores.requires_grad
        assert made.predict(features, k=1000).classes.shape == (9, C)
        assert made.predict(features[0], k=2).classes.shape == (2,)

    def test_what_does_not_fit(self):
        with pytest.raises(ValueError, match=r"features must have shape \(..., 6\), not \(2, 5\)"):
            head().predict(torch.zeros(2, 5))
        with pytest.raises(ValueError, match="k must be at least 1"):
            head().predict(torch.zeros(2, D), k=0)


class TestSampling:
    def test_the_loss_is_that_of_the_classes_drawn_and_the_gradient_names_them_alone(self):
        weights = torch.linspace(0.5, 1.5, C, dtype=torch.float64)
        for centres in (1, 2):
            made = head(sample_rate=0.3, sample_seed=5, sub_centers=centres, weight=weights, label_smoothing=0.1)
            features, target = batch()
            target[4] = -100
            loss = made(features, target)
            loss.backward()
            gradient = made.weight.grad
            assert gradient is not None
            assert gradient.layout == torch.sparse_coo
            gradient = gradient.coalesce()
            drawn = torch.unique(gradient.indices()[0] // centres)
            assert len(drawn) == max(12, len(torch.unique(target[target >= 0])))
            assert torch.isin(target[target >= 0], drawn).all()
            rows = made.weight.detach().view(C, centres, D)[drawn].reshape(-1, D).requires_grad_()
            places = torch.where(target >= 0, torch.searchsorted(drawn, target), target)
            leaf = features.detach().requires_grad_()
            truth = linear_margin_cross_entropy(
                leaf, rows, places, sub_centers=centres, weight=weights[drawn], label_smoothing=0.1
            )
            torch.testing.assert_close(loss, truth)
            truth.backward()
            torch.testing.assert_close(gradient.values(), rows.grad)
            torch.testing.assert_close(features.grad, leaf.grad)

    def test_all_classes_count_in_evaluation_mode(self):
        sampled, whole = head(sample_rate=0.1), head()
        whole.weight.data.copy_(sampled.weight.data)
        features, target = batch()
        assert sampled.eval()(features, target) == whole(features, target)

    def test_a_batch_with_more_classes_than_the_sample(self):
        made = head(sample_rate=0.05)
        features, target = batch(30)
        made(features, target).backward()
        assert made.weight.grad is not None
        assert set(made.weight.grad.coalesce().indices()[0].tolist()) == set(target.tolist())

    def test_draws_go_on_after_loading(self):
        def drawn(made):
            made(*batch()).backward()
            rows = made.weight.grad.coalesce().indices()[0].tolist()
            made.weight.grad = None
            return rows

        first = head(sample_rate=0.5, sample_seed=7)
        once, copied = drawn(first), copy.deepcopy(first)
        again = drawn(first)
        assert once != again
        assert drawn(copied) == again
        loaded = head(sample_rate=0.5, sample_seed=7)
        assert drawn(loaded) == once
        loaded.load_state_dict(copied.state_dict())
        assert drawn(loaded) == drawn(first)
        assert drawn(head(sample_rate=0.5, sample_seed=8)) != once

    @pytest.mark.parametrize("make", [lambda p, n: RowSparseSGD(p, 0.5, 0.9, state_rows=n), RowSparseAdam])
    def test_a_step_touches_and_remembers_the_sample_alone(self, make):
        """Gradient and state of a step, counted in elements: 2000 classes, of which 40 take part."""
        made = MarginHead(D, 2000, sample_rate=0.02)
        before = made.weight.detach().clone()
        optimizer = make([made.weight], 40) if make is not RowSparseAdam else make([made.weight], state_rows=40)
        each = 1 if make is not RowSparseAdam else 2
        for _ in range(5):
            optimizer.zero_grad()
            made(torch.randn(9, D), torch.randint(2000, (9,))).backward()
            assert made.weight.grad is not None
            assert made.weight.grad.coalesce().values().numel() == 40 * D
            optimizer.step()
            assert optimizer.state_numel() == each * 40 * D
        changed = (made.weight.detach() != before).any(dim=1).sum()
        assert 40 <= changed <= 5 * 40

    @pytest.mark.parametrize("remembered", [None, 12])
    def test_training_on_samples_learns_all_classes(self, remembered):
        torch.manual_seed(0)
        centres = F.normalize(torch.randn(30, 16), dim=1)
        target = torch.randint(30, (600,))
        features = centres[target] + 0.1 * torch.randn(600, 16)
        made = MarginHead(16, 30, m2=0.3, scale=16.0, sample_rate=0.4, sample_seed=0)
        assert made.sample_size == 12
        optimizer = RowSparseSGD([made.weight], lr=0.5, momentum=0.9, state_rows=remembered)
        for rows in torch.arange(600).split(6) * 3:
            optimizer.zero_grad()
            made(features[rows], target[rows]).backward()
            optimizer.step()
        assert optimizer.state_numel() <= 16 * (remembered or 1.25 * 30)
        assert (made.predict(features, k=1).classes[:, 0] == target).float().mean() > 0.97


class TestAdaptive:
    def test_margins_are_those_of_the_paper(self):
        """ẑ = h(‖x‖ − μ)/σ clipped to ±1; g_angle = −m·ẑ, g_add = m·ẑ + m (equations 14 to 16)."""
        made = head(m2=0.4, adaptive=True, h=0.5, t_alpha=0.25, scale=8.0)
        features, target = batch(size=8.0)
        norm = features.detach().norm(dim=1).clamp(0.001, 100)
        loss = made(features, target)
        mean, deviation = 0.75 * 20 + 0.25 * norm.mean(), 0.75 * 100 + 0.25 * norm.std()
        assert made.margins.mean.item() == pytest.approx(mean.item(), rel=1e-6)
        assert made.margins.deviation.item() == pytest.approx(deviation.item(), rel=1e-6)
        quality = ((norm - mean) / (deviation + 1e-3) * 0.5).clamp(-1, 1)
        theta = torch.acos(F.normalize(features, dim=1) @ F.normalize(made.weight, dim=1).t())
        own = theta.gather(1, target[:, None])[:, 0]
        psi = torch.cos(own - 0.4 * quality) - (0.4 + 0.4 * quality)
        truth = F.cross_entropy(8 * theta.cos().scatter(1, target[:, None], psi[:, None]), target)
        torch.testing.assert_close(loss, truth, rtol=1e-6, atol=1e-6)  # the statistics are float32
        found = torch.autograd.grad(loss, [features, made.weight])
        torch.testing.assert_close(found, torch.autograd.grad(truth, [features, made.weight]), rtol=1e-5, atol=1e-6)

    def test_short_features_are_spared_and_long_ones_stressed(self):
        made = NormMargins(0.4, h=0.333, t_alpha=1.0)
        m2, m3 = made(torch.tensor([[1e-9], [10.0], [1e9]]), torch.ones(3, dtype=torch.bool))
        assert m2[0] > m2[1] > m2[2]
        assert m3[0] < m3[1] < m3[2]
        m2, m3 = NormMargins(0.4, h=1e9, t_alpha=1.0)(torch.tensor([[1.0], [3.0]]), torch.ones(2, dtype=torch.bool))
        torch.testing.assert_close(m2, torch.tensor([0.4, -0.4]))  # the ends: ArcFace, and cos(θ − m) − 2m
        torch.testing.assert_close(m3, torch.tensor([0.0, 0.8]))

    def test_statistics_move_in_training_only_by_rows_that_count_and_by_one_row_without_deviation(self):
        made = head(adaptive=True, t_alpha=0.5)
        features, target = batch()
        made.eval()(features, target)
        assert (made.margins.mean, made.margins.deviation) == (20, 100)
        made.train()(features, torch.full_like(target, -100))
        assert (made.margins.mean, made.margins.deviation) == (20, 100)
        target[1:] = -100
        assert made(features, target).isfinite()
        assert made.margins.mean.item() == pytest.approx(10 + features[0].detach().norm().item() / 2)
        assert made.margins.deviation == 100
        assert {"margins.mean", "margins.deviation"} <= made.state_dict().keys()

    def test_a_compiled_step_is_one_graph(self):
        made = head(m2=0.4, adaptive=True, t_alpha=0.5)
        other = copy.deepcopy(made)
        features, target = batch()
        target[0] = -100
        compiled = torch.compile(other, backend="aot_eager", fullgraph=True)(features, target)
        torch.testing.assert_close(compiled, made(features, target))
        torch.testing.assert_close(other.margins.mean, made.margins.mean)
        torch.testing.assert_close(other.margins.deviation, made.margins.deviation)

    def test_with_samples(self):
        features, target = batch()
        made = head(m2=0.4, adaptive=True, sample_rate=0.5, sub_centers=2)
        made(features, target).backward()
        assert made.weight.grad is not None
        assert made.weight.grad.is_sparse


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_short_types(dtype):
    features, target = batch(dtype=dtype)
    for options in ({}, {"adaptive": True}, {"sample_rate": 0.5}, {"sub_centers": 2}):
        made = MarginHead(D, C, dtype=dtype, **options)
        loss = made(features, target)
        loss.backward()
        assert loss.dtype == made.weight.grad.dtype == dtype
        assert loss.isfinite()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 0}, "at least 1 feature and 1 class, not 6 and 0"),
        ({"sample_rate": 0.0}, "sample_rate is the share of classes in a step"),
        ({"sample_rate": 1.5}, "sample_rate"),
        ({"adaptive": True, "m3": 0.1}, "adaptive margins have m1 = 1 and m3 = 0"),
        ({"adaptive": True, "h": 0.0}, "h is the factor of normalised norms"),
        ({"adaptive": True, "t_alpha": 0.0}, "t_alpha is the share of a new batch"),
        ({"m2": 28.6}, "m2 is added to the angle"),
        ({"sub_centers": 0}, "1 to 255 sub-centres"),
        ({"weight": torch.ones(3)}, r"weight must have shape \(40,\)"),
        ({"scale": -1.0}, "scale must be a positive number"),
        ({"reduction": "max"}, "reduction must be"),
        ({"label_smoothing": 2.0}, "label_smoothing must be between 0 and 1"),
    ],
)
def test_mistakes_are_named_when_the_head_is_made(options, message):
    with pytest.raises(ValueError, match=message):
        MarginHead(**{"in_features": D, "num_classes": C, **options})


def test_targets_that_do_not_fit():
    for made in (head(), head(sample_rate=0.5)):
        features, _ = batch()
        with pytest.raises(IndexError, match="target 40 in row 0 is not a class: expected 0 to 39"):
            made(features, torch.full((9,), C))
        with pytest.raises(TypeError, match="target must be class numbers"):
            made(features, torch.zeros(9, C))
        with pytest.raises(ValueError, match=r"target must have shape \(9,\)"):
            made(features, torch.zeros(8, dtype=torch.long))


def test_it_shows_what_it_is():
    assert "num_classes=40, m1=1.0, m2=0.5, m3=0.0, scale=64.0, sample_rate=0.5" in repr(head(sample_rate=0.5))
