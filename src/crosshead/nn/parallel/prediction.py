"""The best classes of each row for sharded weights."""

from __future__ import annotations

import torch
from torch import Tensor

from crosshead.nn.backends.projections import Projection
from crosshead.nn.fused.prediction import Best, best_classes
from crosshead.nn.parallel.agreement import accept
from crosshead.nn.parallel.loss import Layout
from crosshead.nn.parallel.shards import local_rows, processes_of, sharded_matrix


@torch.no_grad()
def best_classes_of_shards(
    projection: Projection, input: Tensor, weight: Tensor, bias: Tensor | None, k: int, softcap: float
) -> Best:
    """`best_classes` for the rows of this process among the classes of all; every process of the mesh calls it.

    Each process finds the k best of its own classes for all rows, and sends them to the process of each row.
    """
    accept()
    processes = processes_of(weight)
    rows = local_rows(weight)
    found = processes.gather_integers([len(input), len(rows) // projection.rows_per_class, k], input.device)
    counts, classes, ks = (list(column) for column in zip(*found, strict=True))
    if len(set(ks)) > 1:
        raise ValueError(f"the ranks ask for different numbers of best classes, k = {', '.join(map(str, ks))}")
    layout = Layout(processes, counts, classes)
    local_bias = None if bias is None else sharded_matrix(bias).to_local()
    local = best_classes(projection, processes.gather_rows(input, counts), rows, local_bias, k, softcap)
    own = counts[processes.rank]
    shapes = [(own, min(k, many)) for many in classes]
    scores = torch.cat(processes.all_to_all(torch.split(local.scores, counts), shapes), dim=1)
    numbers = torch.cat(processes.all_to_all(torch.split(local.classes + layout.first_class, counts), shapes), dim=1)
    lse = torch.stack(processes.all_to_all(torch.split(local.lse, counts), [(own,)] * processes.size))
    best, order = scores.topk(min(k, scores.shape[1]), dim=1)
    return Best(numbers.gather(1, order), best, lse.logsumexp(dim=0))
