"""What must hold in a world of processes; every process runs every case, on its part of the same problem."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as checkpoint
import torch.nn.functional as F
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.tensor import DTensor, Shard, distribute_tensor, init_device_mesh
from torch.nn.parallel import DistributedDataParallel

from crosshead.nn import ClassificationHead, MarginHead, RowSparseAdam, RowSparseSGD
from crosshead.nn import functional as fused
from crosshead.nn.parallel import ClassParallelHead

ROWS, FEATURES = 11, 5
SPLITS = {1: [[11]], 2: [[3, 8], [0, 11]], 3: [[5, 0, 6], [1, 9, 1]]}
"""Rows of each process: uneven, and none at all."""


def all_cases(size: int, folder: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    for classes in (7, 1000):
        for name in CLASSIFICATION:
            yield f"{name}, {classes} classes", partial(classification_head, name, classes)
        for name in MARGINS:
            yield f"{name}, {classes} classes", partial(margin_head, name, classes)
    for case in (
        fewer_classes_than_processes,
        shorter_types,
        functions_of_sharded_weights,
        smoothing_counts_all_classes,
        a_weighted_mean_has_the_denominator_of_all_rows,
        a_number_past_the_last_class_may_stand_for_ignored_rows,
        nothing_to_average,
        a_nan_of_one_shard_is_seen_by_all,
        averaged_by_distributed_data_parallel,
        trained_as_by_one_process,
        predictions_of_all_shards,
        sampled_classes,
        one_refused_batch_stops_all,
        ranks_that_disagree,
        what_is_not_possible,
        a_whole_head,
    ):
        yield case.__name__, case
    yield "checkpoints", partial(checkpoints, size, folder)


# The same as one process


class Part:
    """The rows of this process in one way of splitting them."""

    def __init__(self, counts: list[int]) -> None:
        start = sum(counts[: dist.get_rank()])
        self.rows = slice(start, start + counts[dist.get_rank()])

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor[self.rows].clone()


def parts() -> list[Part]:
    return [Part(counts) for counts in SPLITS[dist.get_world_size()]]


def positive(classes: int) -> torch.Tensor:
    return torch.linspace(0.2, 2.5, classes, dtype=torch.float64)


CLASSIFICATION = {
    "softmax": ("softmax", lambda C: {}),
    "softmax, weights": ("softmax", lambda C: {"weight": positive(C)}),
    "softmax, weights and smoothing": ("softmax", lambda C: {"weight": positive(C), "label_smoothing": 0.3}),
    "softmax, cap and z": ("softmax", lambda C: {"softcap": 2.0, "z_loss": 0.01}),
    "softmax of probabilities": ("softmax", lambda C: {"label_smoothing": 0.2, "weight": positive(C), "dense": True}),
    "hinge": ("hinge", lambda C: {"margin": 0.7, "weight": positive(C)}),
    "squared_hinge": ("squared_hinge", lambda C: {"margin": 1.3}),
    "crammer_singer": ("crammer_singer", lambda C: {"margin": 0.5, "weight": positive(C)}),
    "binary": ("binary", lambda C: {"weight": positive(C), "pos_weight": positive(C).flip(0)}),
    "binary of answers": ("binary", lambda C: {"pos_weight": positive(C), "dense": True}),
    "squared_error": ("squared_error", lambda C: {"weight": positive(C)}),
    "squared_error of numbers": ("squared_error", lambda C: {"dense": True}),
}

MARGINS = {
    "arcface": {},
    "cosface": {"m2": 0.0, "m3": 0.35},
    "sphereface": {"m1": 1.7, "m2": 0.0, "margin_gradient": "insightface"},
    "combined": {"m1": 1.1, "m2": 0.3, "m3": 0.1, "easy_margin": True, "label_smoothing": 0.2, "weighted": True},
    "sub-centres": {"sub_centers": 3, "m2": 0.2},
    "adaface": {"adaptive": True, "m2": 0.4, "t_alpha": 0.3},
}


def problem(classes: int, dense: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    features = torch.randn(ROWS, FEATURES, dtype=torch.float64)
    if dense:
        return features, torch.rand(ROWS, classes, dtype=torch.float64).softmax(dim=1)
    target = torch.randint(classes, (ROWS,))
    target[-1], target[4] = classes - 1, -100
    return features, target


def classification_head(name: str, classes: int) -> None:
    loss, options = CLASSIFICATION[name]
    given = options(classes)
    features, target = problem(classes, given.pop("dense", False))
    for reduction in ("mean", "sum", "none") if classes < 100 else ("mean",):
        head = ClassificationHead(FEATURES, classes, loss, reduction=reduction, dtype=torch.float64, **given)
        torch.nn.init.normal_(head.weight, std=0.5)
        torch.nn.init.normal_(head.bias)
        compare(head, features, target)


def margin_head(name: str, classes: int) -> None:
    given = dict(MARGINS[name])
    weight = positive(classes) if given.pop("weighted", False) else None
    features, target = problem(classes)
    for reduction in ("mean", "none") if classes < 100 else ("mean",):
        head = MarginHead(
            FEATURES, classes, scale=8.0, weight=weight, reduction=reduction, dtype=torch.float64, **given
        )
        compare(head, 20 * features, target)


def compare(head, features, target, tolerance=1e-11) -> None:
    """Loss and all gradients, of one process and of all; the upstream gradient of a row is its own."""
    for part in parts()[: 2 if head.num_classes < 100 else 1]:
        sharded, single = ClassParallelHead(head), head
        single.zero_grad()
        x = features.clone().requires_grad_()
        own = part(features).requires_grad_()
        truth, value = single(x, target), sharded(own, part(target))
        upstream = torch.linspace(-1, 2, truth.numel(), dtype=truth.dtype).view_as(truth)
        expected, factor = (truth, upstream) if truth.dim() == 0 else (part(truth), part(upstream))
        close = partial(torch.testing.assert_close, rtol=tolerance, atol=tolerance)
        close(value, expected)
        truth.backward(upstream)
        value.backward(factor)
        size = dist.get_world_size()
        close(own.grad, size * part(x.grad))
        gradients = {"weight": (sharded.weight, single.weight)}
        if getattr(head, "bias", None) is not None:
            gradients["bias"] = (sharded.bias, single.bias)
        for ours, theirs in gradients.values():
            assert ours.grad.placements == (Shard(0),)
            whole = theirs.grad.view(ours.shape)
            here = whole.chunk(size)[dist.get_rank() : dist.get_rank() + 1]
            close(ours.grad.to_local(), here[0] if here else whole[:0])
        for ours, theirs in zip(sharded.buffers(), single.buffers(), strict=True):
            close(ours, theirs)


def fewer_classes_than_processes() -> None:
    for classes in (1, 2):
        features, target = problem(classes)
        for loss in ("softmax", "hinge", "crammer_singer", "binary", "squared_error"):
            if (loss, classes) != ("crammer_singer", 1):
                compare(ClassificationHead(FEATURES, classes, loss, dtype=torch.float64), features, target)
        compare(MarginHead(FEATURES, classes, sub_centers=2, scale=4.0, dtype=torch.float64), features, target)


def shorter_types() -> None:
    features, target = problem(7)
    head = ClassificationHead(FEATURES, 7, label_smoothing=0.1, dtype=torch.float32)
    compare(head, features.float(), target, 1e-6)
    head = ClassificationHead(FEATURES, 7, dtype=torch.bfloat16)
    compare(head, features.bfloat16(), target, 2e-2)
    head = ClassificationHead(FEATURES, 7)
    with torch.autocast("cpu", torch.bfloat16):
        compare(head, features.float(), target, 2e-2)


def functions_of_sharded_weights() -> None:
    """By-products come for a process's own rows; without a head features have their gradient without a factor."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    features, target = problem(7)
    weight = torch.randn(7, FEATURES, dtype=torch.float64, requires_grad=True)
    spread = distribute_tensor(weight.detach(), mesh, [Shard(0)]).requires_grad_()
    for part in parts():
        x, own = features.clone().requires_grad_(), part(features).requires_grad_()
        truth, lse = fused.linear_cross_entropy(x, weight, target, return_lse=True)
        value, own_lse = fused.linear_cross_entropy(own, spread, part(target), return_lse=True)
        torch.testing.assert_close(value, truth)
        torch.testing.assert_close(own_lse, part(lse))
        (value + own_lse.sum() / dist.get_world_size()).backward()
        (truth + lse.sum() / dist.get_world_size()).backward()
        torch.testing.assert_close(own.grad, part(x.grad))
        torch.testing.assert_close(spread.grad.full_tensor(), weight.grad)
        known = target.clamp_min(0)
        for p in (1, 2):
            truth = F.multi_margin_loss(features @ weight.t(), known, p=p, weight=positive(7))
            value = fused.linear_multi_margin_loss(own, spread, part(known), p=p, weight=positive(7))
            torch.testing.assert_close(value, truth)
        spread.grad = weight.grad = None
    replicated = DTensor.from_local(weight.detach(), mesh)
    with pytest.raises(ValueError, match=r"Shard\(0\)"):
        fused.linear_cross_entropy(features, replicated, target)
    if dist.get_world_size() > 1:
        split = distribute_tensor(torch.randn(7 * 3, FEATURES, dtype=torch.float64), mesh, [Shard(0)])
        if 21 % (3 * dist.get_world_size()):
            with pytest.raises(ValueError, match="on one process"):
                fused.linear_margin_cross_entropy(features, split, target, sub_centers=3)


# Traps


def sharded_scores(classes: int, **options):
    """A sharded head, and all scores of its problem for PyTorch's own loss."""
    features, target = problem(classes)
    head = ClassificationHead(FEATURES, classes, dtype=torch.float64, **options)
    torch.nn.init.normal_(head.weight)
    return ClassParallelHead(head), features, target, F.linear(features, head.weight, head.bias).detach()


def smoothing_counts_all_classes() -> None:
    """Megatron #737: the share of a class was computed from the classes of one rank."""
    for classes in (7, 100):
        head, features, target, scores = sharded_scores(classes, label_smoothing=0.7)
        for part in parts():
            expected = F.cross_entropy(scores, target, label_smoothing=0.7)
            torch.testing.assert_close(head(part(features), part(target)), expected)


def a_weighted_mean_has_the_denominator_of_all_rows() -> None:
    """The mean of ranks' means is another number where their rows weigh differently or some are ignored."""
    for smoothing in (0.0, 0.2):
        head, features, target, scores = sharded_scores(7, weight=positive(7), label_smoothing=smoothing)
        target[0:3] = -100  # of two processes the first has nothing but ignored rows
        expected = F.cross_entropy(scores, target, weight=positive(7), label_smoothing=smoothing)
        for part in parts():
            torch.testing.assert_close(head(part(features), part(target)), expected)


def a_number_past_the_last_class_may_stand_for_ignored_rows() -> None:
    """No shard is filled up with columns, which such a number, or −1, would match."""
    for ignored in (-1, 7, 8, 0):
        head, features, target, scores = sharded_scores(7, ignore_index=ignored)
        target = torch.where(target == -100, ignored, target)
        for part in parts():
            expected = F.cross_entropy(scores, target, ignore_index=ignored)
            torch.testing.assert_close(head(part(features), part(target)), expected)


def nothing_to_average() -> None:
    for all_ignored, expected in (("nan", torch.nan), ("zero", 0.0)):
        head, features, target, _ = sharded_scores(7, all_ignored=all_ignored)
        for rows in (features, features[:0]):
            x = rows.clone().requires_grad_()
            value = head(x, torch.full_like(target, -100)[: len(rows)])
            torch.testing.assert_close(value, torch.tensor(expected, dtype=torch.float64), equal_nan=True)
            value.backward()
            assert x.grad.eq(0).all()
            assert head.weight.grad.to_local().eq(0).all()


def a_nan_of_one_shard_is_seen_by_all() -> None:
    features, target = problem(7)
    for loss in ("softmax", "crammer_singer"):
        head = ClassificationHead(FEATURES, 7, loss, dtype=torch.float64)
        with torch.no_grad():
            head.weight[6] = torch.nan
        assert ClassParallelHead(head)(features, target.clamp(0, 5)).isnan()


def averaged_by_distributed_data_parallel() -> None:
    """DistributedDataParallel divides by the number of processes; the head's factor undoes that."""
    features, target = problem(7)
    head = ClassificationHead(FEATURES, 7, dtype=torch.float64)
    torch.nn.init.normal_(head.weight)
    network = torch.nn.Linear(FEATURES, FEATURES, dtype=torch.float64)
    truth = torch.autograd.grad(head(network(features), target), list(network.parameters()))
    for part in parts():
        network.zero_grad()
        averaged = DistributedDataParallel(deepcopy(network))
        ClassParallelHead(head)(averaged(part(features)), part(target)).backward()
        for parameter, expected in zip(averaged.parameters(), truth, strict=True):
            torch.testing.assert_close(parameter.grad, expected)
        summed = ClassParallelHead(head, average_gradients=False)
        summed(network(part(features)), part(target)).backward()
        for parameter, expected in zip(network.parameters(), truth, strict=True):
            dist.all_reduce(parameter.grad)
            torch.testing.assert_close(parameter.grad, expected)


def trained_as_by_one_process() -> None:
    features, target = problem(7)
    single = MarginHead(FEATURES, 7, scale=8.0, adaptive=True, t_alpha=0.5, dtype=torch.float64)
    sharded = ClassParallelHead(single)
    part = parts()[0]
    optimizers = [torch.optim.AdamW(head.parameters(), lr=0.1, foreach=False) for head in (single, sharded)]
    for step in range(4):
        rows = 10 * (step + 1) * features
        for head, x, y in ((single, rows, target), (sharded, part(rows), part(target))):
            head.zero_grad()
            head(x, y).backward()
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(sharded.weight.full_tensor(), single.weight)


# Predictions, samples, mistakes


def predictions_of_all_shards() -> None:
    for part in parts():
        for classes in (2, 7, 50):
            features, _ = problem(classes)
            for single in (
                ClassificationHead(FEATURES, classes, softcap=2.0, dtype=torch.float64),
                ClassificationHead(FEATURES, classes, "binary", bias=False, dtype=torch.float64),
                ClassificationHead(FEATURES, classes, "hinge", dtype=torch.float64),
                MarginHead(FEATURES, classes, sub_centers=2, dtype=torch.float64),
            ):
                torch.nn.init.normal_(single.weight)
                sharded = ClassParallelHead(single)
                for k in (1, 3, 100):
                    ours, theirs = sharded.predict(part(features), k), single.predict(features, k)
                    assert torch.equal(ours.classes, theirs.classes[part.rows])
                    torch.testing.assert_close(ours.scores, theirs.scores[part.rows])
                    if theirs.confidence is None:
                        assert ours.confidence is None
                    else:
                        torch.testing.assert_close(ours.confidence, theirs.confidence[part.rows])


def sampled_classes() -> None:
    """Softmax over the classes that have a gradient, which each process has drawn from its own."""
    classes, part = 60, parts()[0]
    features, target = problem(classes)
    known = target >= 0
    for centres, weight in ((1, None), (2, positive(classes))):
        single = MarginHead(
            FEATURES, classes, scale=8.0, sample_rate=0.3, sample_seed=5, sub_centers=centres, weight=weight,
            label_smoothing=0.1, dtype=torch.float64,
        )  # fmt: skip
        sharded = ClassParallelHead(single)
        before = sharded.weight.full_tensor().detach().clone()
        own = part(features).requires_grad_()
        value = sharded(own, part(target))
        value.backward()
        with torch.no_grad():
            local = sharded.weight.grad.to_local()
            assert local.is_sparse
            here = local.coalesce()
            start = dist.get_rank() * -(-classes // dist.get_world_size())
            taken = torch.zeros(classes)
            taken[here.indices()[0] + start] = 1
            dist.all_reduce(taken)
            dense = torch.zeros_like(before)
            dense[start : start + len(here)] = here.to_dense()
            dist.all_reduce(dense)
        drawn = taken.nonzero()[:, 0]
        assert taken.max() == 1
        assert set(target[known].tolist()) <= set(drawn.tolist())
        assert len(set(target[known].tolist())) < len(drawn) < classes
        place = torch.full((classes,), -100)
        place[drawn] = torch.arange(len(drawn))
        x, rows = features.clone().requires_grad_(), before.view(classes, centres, -1)[drawn].requires_grad_()
        truth = fused.linear_margin_cross_entropy(
            x, rows.flatten(0, 1), torch.where(known, place[target.clamp_min(0)], -100), scale=8.0,
            sub_centers=centres, weight=None if weight is None else weight[drawn], label_smoothing=0.1,
        )  # fmt: skip
        torch.testing.assert_close(value, truth)
        truth.backward()
        torch.testing.assert_close(own.grad, dist.get_world_size() * part(x.grad))
        torch.testing.assert_close(dense.view(classes, centres, -1)[drawn], rows.grad)
        sharded(own, part(target)).backward()  # gradients add up
        for optimizer in (RowSparseSGD([sharded.weight], lr=1.0, momentum=0.9), RowSparseAdam([sharded.weight])):
            optimizer.step()
        moved = (sharded.weight.full_tensor() - before).flatten(1).abs().amax(dim=1) > 0
        assert moved[drawn].any()
        assert moved.sum() < classes
        whole = sharded.eval()(part(features), part(target))
        torch.testing.assert_close(whole, sharded.whole().eval()(features, target))


def one_refused_batch_stops_all() -> None:
    """The others do not wait for a process that has raised."""
    features, target = problem(7)
    last = dist.get_rank() == dist.get_world_size() - 1
    for single in (
        ClassificationHead(FEATURES, 7, dtype=torch.float64),
        MarginHead(FEATURES, 7, dtype=torch.float64),
        MarginHead(FEATURES, 7, sample_rate=0.5, adaptive=True, dtype=torch.float64),
    ):
        head = ClassParallelHead(single)
        wrong = torch.full_like(target, 7) if last else target
        expected = pytest.raises(IndexError, match="7") if last else pytest.raises(RuntimeError, match="refused")
        with expected:
            head(features, wrong)
        short = features[:, :2] if last else features
        for call in (partial(head, short, target), partial(head.predict, short, 2)):
            expected = pytest.raises(ValueError, match="shape") if last else pytest.raises(RuntimeError)
            with expected:
                call()
        assert head(features, target).isfinite()


def ranks_that_disagree() -> None:
    if dist.get_world_size() == 1:
        return
    features, target = problem(7)
    first = dist.get_rank() == 0
    head = ClassParallelHead(ClassificationHead(FEATURES, 7, dtype=torch.float64))
    with pytest.raises(ValueError, match="class numbers"):
        head(features, target if first else torch.rand(ROWS, 7, dtype=torch.float64))
    with pytest.raises(ValueError, match="need gradients"), torch.set_grad_enabled(first):
        head(features, target)
    with pytest.raises(ValueError, match="k = "):
        head.predict(features, 1 if first else 2)
    odd = ClassParallelHead(ClassificationHead(FEATURES, 7, label_smoothing=float(first), dtype=torch.float64))
    with pytest.raises(ValueError, match="losses or options"):
        odd(features, target)


def what_is_not_possible() -> None:
    head = ClassParallelHead(ClassificationHead(FEATURES, 7))
    with pytest.raises(NotImplementedError, match="predict"):
        head.scores(torch.zeros(1, FEATURES))
    if dist.get_world_size() == 2:
        with pytest.raises(ValueError, match="one axis"):
            ClassParallelHead(ClassificationHead(FEATURES, 7), init_device_mesh("cpu", (1, 2)))
    features = torch.randn(3, FEATURES, requires_grad=True)
    value = head(features, torch.arange(3))
    with pytest.raises(NotImplementedError, match="first derivatives"):
        torch.autograd.grad(value, features, create_graph=True)


def a_whole_head() -> None:
    """Without "meta" the values are those of rank 0, whatever the others have."""
    torch.manual_seed(dist.get_rank())
    for single in (
        ClassificationHead(FEATURES, 7, label_smoothing=0.1),
        MarginHead(FEATURES, 7, sub_centers=2, adaptive=True),
    ):
        whole = ClassParallelHead(single).whole()
        assert type(whole) is type(single)
        values = list(single.state_dict().values())
        dist.broadcast(values[0], 0)
        for name, value in single.state_dict().items():
            torch.testing.assert_close(whole.state_dict()[name], value)


def checkpoints(size: int, folder: Path) -> None:
    """What three processes save, two load, train on and save, and one loads."""
    features, target = problem(7)
    centres = MarginHead(FEATURES, 7, sub_centers=2, adaptive=True, scale=4.0, device="meta", dtype=torch.float64)
    plain = ClassificationHead(FEATURES, 7, weight=positive(7), device="meta", dtype=torch.float64)
    torch.manual_seed(3)
    heads = torch.nn.ModuleDict({"plain": ClassParallelHead(plain), "centres": ClassParallelHead(centres)})
    started = {name: head.weight.full_tensor().detach().clone() for name, head in heads.items()}
    optimizer = torch.optim.AdamW(heads.parameters(), lr=0.1, foreach=False)

    def step() -> None:
        part = parts()[0]
        for head in heads.values():
            head(part(features), part(target)).backward()
        optimizer.step()
        optimizer.zero_grad()

    def everything() -> dict:
        model, state = get_state_dict(heads, optimizer)
        return {"model": model, "optimizer": state}

    def kept() -> dict[str, torch.Tensor]:
        return {
            name: value.full_tensor() if isinstance(value, DTensor) else value
            for name, value in heads.state_dict().items()
        }

    if size == 3:
        # The start and the steps do not depend on how many processes take part.
        step()
    else:
        truth = torch.load(folder / f"truth-{size + 1}.pt")
        for name, value in started.items():
            torch.testing.assert_close(value, truth["started"][name])
        with torch.no_grad():
            for parameter in heads.parameters():
                parameter.to_local().fill_(torch.nan)
        step_state = everything()
        checkpoint.load(step_state, checkpoint_id=folder / f"of-{size + 1}")
        set_state_dict(heads, optimizer, model_state_dict=step_state["model"], optim_state_dict=step_state["optimizer"])
        for name, value in kept().items():
            torch.testing.assert_close(value, truth["kept"][name])
        step()
    checkpoint.save(everything(), checkpoint_id=folder / f"of-{size}")
    found = kept()
    if dist.get_rank() == 0:
        torch.save({"started": started, "kept": found}, folder / f"truth-{size}.pt")
