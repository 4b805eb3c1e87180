from __future__ import annotations

import pytest
import torch

from crosshead.nn.optim.row_sparse import RowSparseAdam, RowSparseSGD

C, D = 23, 3


def sparse(rows, values, shape=(C, D)):
    return torch.sparse_coo_tensor(torch.tensor(rows)[None], values, shape, check_invariants=True)


def draws(steps, *, seed=0, size=5, rows=C):
    """Gradients of a few rows each, in the order of no particular list."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        chosen = torch.randperm(rows, generator=generator)[:size]
        yield chosen.tolist(), torch.randn(size, D, generator=generator, dtype=torch.float64)


def start():
    return torch.randn(C, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def each_row_alone(make, steps):
    """The truth: every row is a parameter of its own with torch's dense optimizer, which steps when it is touched."""
    rows = [torch.nn.Parameter(row.clone()) for row in start()]
    optimizers = [make([row]) for row in rows]
    for chosen, values in steps:
        for row, value in zip(chosen, values, strict=True):
            rows[row].grad = value.clone()
            optimizers[row].step()
    return torch.stack([row.detach() for row in rows])


def run(optimizer, weight, steps):
    for chosen, values in steps:
        weight.grad = sparse(chosen, values, weight.shape)
        optimizer.step()
    return weight.detach()


@pytest.mark.parametrize(
    "options",
    [
        {"lr": 0.1},
        {"lr": 0.1, "weight_decay": 0.3},
        {"lr": 0.1, "momentum": 0.9},
        {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.3},
        {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.3, "nesterov": True},
    ],
)
def test_sgd_is_torchs_on_each_row_that_is_touched(options):
    weight = torch.nn.Parameter(start())
    found = run(RowSparseSGD([weight], **options), weight, draws(17))
    torch.testing.assert_close(found, each_row_alone(lambda rows: torch.optim.SGD(rows, **options), draws(17)))


@pytest.mark.parametrize("options", [{}, {"betas": (0.7, 0.9), "eps": 1e-3}, {"weight_decay": 0.3}])
def test_adam_is_torchs_on_each_row_that_is_touched(options):
    weight = torch.nn.Parameter(start())
    found = run(RowSparseAdam([weight], lr=0.1, **options), weight, draws(17))
    dense = {"weight_decay": 0.0, **options}
    truth = each_row_alone(lambda rows: torch.optim.AdamW(rows, lr=0.1, **dense), draws(17))
    torch.testing.assert_close(found, truth)


def test_a_repeated_row_counts_once_with_its_sum():
    weight, twice = torch.nn.Parameter(start()), torch.nn.Parameter(start())
    one = torch.ones(1, D, dtype=torch.float64)
    run(RowSparseAdam([weight], lr=0.1), weight, [([4], 2 * one)])
    run(RowSparseAdam([twice], lr=0.1), twice, [([4, 4], one.repeat(2, 1))])
    assert (weight == twice).all()


@pytest.mark.parametrize(("make", "names"), [(lambda p, **o: RowSparseSGD(p, 0.1, 0.9, **o), 1), (RowSparseAdam, 2)])
def test_state_is_as_large_as_the_rows_it_is_about(make, names):
    """Counted in elements: 2000 classes, 20 rows a step."""
    shape, sample = (2000, D), 20
    for limit, most in ((sample, sample), (2 * sample, 2 * sample), (1, sample)):
        weight = torch.nn.Parameter(torch.zeros(shape, dtype=torch.float64))
        optimizer = make([weight], state_rows=limit)
        run(optimizer, weight, draws(60, size=sample, rows=2000))
        assert optimizer.state_numel() == names * most * D
    weight = torch.nn.Parameter(torch.zeros(shape, dtype=torch.float64))
    optimizer = make([weight])
    touched = set()
    for chosen, values in draws(30, size=sample, rows=2000):
        touched |= set(chosen)
        run(optimizer, weight, [(chosen, values)])
        assert names * len(touched) * D <= optimizer.state_numel() <= 1.25 * names * len(touched) * D


def test_what_torchs_own_optimizers_hold():
    """Why there are optimizers of ours: SparseAdam's state is dense; SGD's momentum holds every row ever touched."""
    weight = torch.nn.Parameter(torch.zeros(2000, D, dtype=torch.float64))
    adam = torch.optim.SparseAdam([weight])
    run(adam, weight, draws(1, size=20, rows=2000))
    assert sum(t.numel() for t in adam.state[weight].values() if torch.is_tensor(t)) >= 2 * 2000 * D
    weight = torch.nn.Parameter(torch.zeros(2000, D, dtype=torch.float64))
    sgd = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    run(sgd, weight, draws(30, size=20, rows=2000))
    assert sgd.state[weight]["momentum_buffer"].coalesce()._nnz() > 15 * 20


def test_forgotten_rows_begin_anew_and_the_longest_unused_are_forgotten_first():
    one = torch.ones(1, D, dtype=torch.float64)
    weight = torch.nn.Parameter(torch.zeros(C, D, dtype=torch.float64))
    optimizer = RowSparseSGD([weight], 1.0, momentum=0.5, state_rows=2)
    run(optimizer, weight, [([row], one) for row in (7, 3, 7, 9)])  # 9 takes the place of 3
    assert weight[7, 0].item() == -(1 + 1.5)
    before = weight.detach().clone()
    run(optimizer, weight, [([7], one), ([3], one)])  # 3 takes the place of 9
    assert (weight - before)[7, 0].item() == -(1 + 0.5 * 1.5)
    assert (weight - before)[3, 0].item() == -1


@pytest.mark.parametrize("limit", [None, 9])
@pytest.mark.parametrize("make", [lambda p, **o: RowSparseSGD(p, 0.1, 0.9, **o), RowSparseAdam])
def test_training_goes_on_after_loading(make, limit, tmp_path):
    steps = list(draws(20))
    weight = torch.nn.Parameter(start().float())
    optimizer = make([weight], state_rows=limit)
    run(optimizer, weight, [(rows, values.float()) for rows, values in steps[:10]])
    torch.save({"weight": weight.detach().clone(), "optimizer": optimizer.state_dict()}, tmp_path / "half.pt")
    whole = run(optimizer, weight, [(rows, values.float()) for rows, values in steps[10:]])

    half = torch.load(tmp_path / "half.pt", weights_only=True)
    assert half["optimizer"]["state"][0]["rows"].dtype == torch.long  # numbers of rows above 2²⁴ stay exact
    again = torch.nn.Parameter(half["weight"])
    loaded = make([again], state_rows=limit)
    loaded.load_state_dict(half["optimizer"])
    assert (run(loaded, again, [(rows, values.float()) for rows, values in steps[10:]]) == whole).all()


def test_state_of_another_optimizer_is_refused():
    weight = torch.nn.Parameter(start())
    sgd, adam = RowSparseSGD([weight], 0.1, 0.9), RowSparseAdam([weight])
    run(sgd, weight, draws(1))
    with pytest.raises(ValueError, match="momentum"):
        adam.load_state_dict(sgd.state_dict())


def test_schedulers_closures_groups_and_parameters_without_gradient():
    first, second = torch.nn.Parameter(start()), torch.nn.Parameter(start())
    optimizer = RowSparseSGD([{"params": [first]}, {"params": [second], "lr": 0.5}], lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.1)
    one = torch.ones(1, D, dtype=torch.float64)

    def closure():
        assert torch.is_grad_enabled()
        first.grad = sparse([2], one)
        return 3.5

    assert optimizer.step(closure) == 3.5
    scheduler.step()
    optimizer.step()
    torch.testing.assert_close(first.detach()[2], start()[2] - 1.1)
    assert (second == start()).all()
    first.grad = torch.sparse_coo_tensor(torch.empty(1, 0, dtype=torch.long), one[:0], (C, D), check_invariants=True)
    optimizer.step()
    torch.testing.assert_close(first.detach()[2], start()[2] - 1.1)


def test_what_is_refused():
    weight = torch.nn.Parameter(start())
    weight.grad = torch.ones_like(weight)
    with pytest.raises(ValueError, match=r"\(23, 3\) is not row-sparse: give that parameter to an optimizer of torch"):
        RowSparseSGD([weight], lr=0.1).step()
    with pytest.raises(ValueError, match="state_rows is a number of rows, at least 1"):
        RowSparseSGD([weight], lr=0.1, state_rows=0)
    with pytest.raises(ValueError, match=r"momentum in \[0, 1\), not"):
        RowSparseSGD([weight], lr=0.1, momentum=1.0)
    with pytest.raises(ValueError, match="Nesterov"):
        RowSparseSGD([weight], lr=0.1, nesterov=True)
    with pytest.raises(ValueError, match="betas"):
        RowSparseAdam([weight], betas=(1.0, 0.9))
