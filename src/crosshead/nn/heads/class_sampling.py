"""Sampling of classes for a training step: all classes of the batch, and a random part of the others."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def sample_classes(
    target: Tensor,
    num_classes: int,
    count: int,
    *,
    ignore_index: int = -100,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """The classes of a step, sorted, (S,), and the targets (N,) as positions in that list.

    It has every class in ``target`` (N,), and others drawn uniformly without replacement until there are ``count``. It
    has more than ``count`` only if the batch has. Targets equal to ``ignore_index`` are unchanged. Memory grows with
    the sample, not with the number of classes, unless more than half of them are drawn.

    Source: An et al., Killing two birds with one stone: efficient and robust training of face recognition CNNs by
    Partial FC, CVPR 2022.

    Examples
    --------
    >>> classes, places = sample_classes(torch.tensor([7, 2, 7]), 10, 5, generator=torch.Generator().manual_seed(0))
    >>> len(classes), classes[places].tolist()
    (5, [7, 2, 7])
    """
    used = target != ignore_index
    positive = torch.unique(target[used])
    rest = num_classes - len(positive)
    wanted = min(max(0, count - len(positive)), rest)
    # Positions among the classes that are not in the batch; positive[k] − k of these classes are below positive[k].
    drawn = _distinct(rest, wanted, target.device, generator)
    shift = torch.searchsorted(positive - torch.arange(len(positive), device=target.device), drawn, right=True)
    classes = torch.cat([positive, drawn + shift]).sort().values
    places = torch.where(used, torch.searchsorted(classes, target.contiguous()), target)
    return classes, places


def _distinct(below: int, count: int, device: torch.device, generator: torch.Generator | None) -> Tensor:
    """``count`` different numbers 0 ≤ k < ``below``, every set of them equally likely."""
    if 2 * count > below:
        return _permutation(below, device, generator)[:count]
    # Independent draws without their repeats are a uniformly random set, and so is a random part of it.
    found = torch.empty(0, dtype=torch.long, device=device)
    while len(found) < count:
        more = (count - len(found)) * 5 // 4 + 8
        source = device if generator is None else generator.device
        fresh = torch.randint(below, (more,), generator=generator, device=source).to(device)
        found = torch.unique(torch.cat([found, fresh]))
    return found[_permutation(len(found), device, generator)[:count]]


def _permutation(length: int, device: torch.device, generator: torch.Generator | None) -> Tensor:
    source = device if generator is None else generator.device
    return torch.randperm(length, generator=generator, device=source).to(device)


def gather_rows(weight: Tensor, classes: Tensor, rows_per_class: int = 1) -> Tensor:
    """The rows of W (C × rows per class, D) for these classes, (S × rows per class, D), with a row-sparse gradient.

    The gradient of ``weight`` is a sparse COO tensor with the gathered rows only.

    Examples
    --------
    >>> weight = torch.eye(4, requires_grad=True)
    >>> gather_rows(weight, torch.tensor([1, 3])).sum().backward()
    >>> weight.grad.is_sparse, weight.grad.coalesce().indices().tolist()
    (True, [[1, 3]])
    """
    if rows_per_class > 1:
        within = torch.arange(rows_per_class, device=classes.device)
        classes = (classes[:, None] * rows_per_class + within).reshape(-1)
    return functional.embedding(classes, weight, sparse=True)
