from __future__ import annotations

import pytest
import torch
from scipy.stats import chisquare

from crosshead.nn.heads.class_sampling import gather_rows, sample_classes


@pytest.mark.parametrize("count", [1, 2, 3, 5, 30, 99, 100, 1000])
@pytest.mark.parametrize("target", [[3], [0, 99, 50, 0], [7, -100, 7, 98], [-100]])
def test_the_batchs_classes_are_kept_and_the_rest_is_distinct(target, count):
    target = torch.tensor(target)
    classes, places = sample_classes(target, 100, count, generator=torch.Generator().manual_seed(0))
    used = target >= 0
    assert len(classes) == min(100, max(count, len(torch.unique(target[used]))))
    assert (classes.diff() > 0).all()
    assert classes.min() >= 0
    assert classes.max() < 100
    assert (classes[places[used]] == target[used]).all()
    assert (places[~used] == -100).all()


@pytest.mark.parametrize("count", [4, 7])  # few are drawn one by one, many from a permutation
def test_all_other_classes_are_equally_likely(count):
    generator = torch.Generator().manual_seed(0)
    seen = torch.zeros(10, dtype=torch.long)
    for _ in range(2000):
        classes, _ = sample_classes(torch.tensor([2, 9]), 10, count, generator=generator)
        seen[classes] += 1
    assert seen[2] == seen[9] == 2000
    others = seen[[0, 1, 3, 4, 5, 6, 7, 8]]
    assert others.sum() == 2000 * (count - 2)
    assert chisquare(others.numpy()).pvalue > 1e-3


def test_the_generator_decides():
    target = torch.tensor([1, 2])
    draw = [sample_classes(target, 1000, 50, generator=torch.Generator().manual_seed(seed))[0] for seed in (3, 3, 4)]
    assert (draw[0] == draw[1]).all()
    assert (draw[0] != draw[2]).any()
    torch.manual_seed(5)
    first = sample_classes(target, 1000, 50)[0]
    torch.manual_seed(5)
    assert (sample_classes(target, 1000, 50)[0] == first).all()


def test_millions_of_classes_take_no_memory_of_their_own():
    classes, _ = sample_classes(torch.tensor([5]), 10**12, 100, generator=torch.Generator().manual_seed(0))
    assert len(torch.unique(classes)) == 100


@pytest.mark.parametrize("each", [1, 3])
def test_rows_and_their_gradient(each):
    weight = torch.randn(5 * each, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    classes = torch.tensor([1, 4])
    rows = gather_rows(weight, classes, each)
    assert (rows == weight.view(5, each, 2)[classes].reshape(-1, 2)).all()
    rows.square().sum().backward()
    assert weight.grad is not None
    gradient = weight.grad.coalesce()
    assert gradient._nnz() == 2 * each
    assert gradient.values().numel() == 2 * each * 2
    dense = torch.zeros(5, each, 2)
    dense[classes] = 2 * weight.detach().view(5, each, 2)[classes]
    torch.testing.assert_close(gradient.to_dense(), dense.view(-1, 2))
