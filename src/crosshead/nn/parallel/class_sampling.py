"""Which classes take part in a step of a sharded margin head: all, or a sample that each process draws from its own."""

from __future__ import annotations

import torch
from torch import Tensor

from crosshead.nn.fused.inputs import IGNORED
from crosshead.nn.heads.class_sampling import gather_rows, sample_classes
from crosshead.nn.heads.margin import MarginHead
from crosshead.nn.parallel.agreement import accept
from crosshead.nn.parallel.processes import starts
from crosshead.nn.parallel.shards import as_matrix, local_rows, processes_of, sharded_rows, sparse_local_rows


def classes_of_sharded_step(head: MarginHead, index: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
    """Rows of W and class weights of the classes of this step, and the positions of this process's targets among them.

    For a sample, every process takes those of its classes that are targets of any process, and draws others of its own
    until it has the share ``sample_rate`` of its classes.
    """
    if not head.samples:
        return as_matrix(head.weight), head.class_weight, index
    accept()
    weight, each = head.weight, head.sub_centers
    processes = processes_of(weight)
    local_classes = local_rows(weight).shape[0] // each
    own = index.reshape(-1)
    found = processes.gather_integers([len(own), local_classes], own.device)
    counts, classes = (list(column) for column in zip(*found, strict=True))
    first = starts(classes)[processes.rank]
    target = processes.gather_rows(own, counts)
    inside = (target >= first) & (target < first + local_classes)
    size = min(local_classes, max(1, round(head.sample_rate * local_classes)))
    drawn, places = sample_classes(
        torch.where(inside, target - first, IGNORED),
        local_classes,
        size,
        ignore_index=IGNORED,
        generator=head.generator(processes.rank),
    )
    sizes = [number for (number,) in processes.gather_integers([len(drawn)], own.device)]
    begin = starts(sizes)
    # Only the process that holds a row's class knows its position; the others add zero.
    place = processes.all_reduce(torch.where(inside, places + begin[processes.rank], 0))
    start = starts(counts)[processes.rank]
    place = place[start : start + len(own)]
    rows = gather_rows(sparse_local_rows(weight), drawn, each)
    class_weight = None
    if head.class_weight is not None:
        class_weight = head.class_weight[processes.gather_rows(drawn + first, sizes)]
    index = torch.where(own == IGNORED, IGNORED, place).view(index.shape)
    return sharded_rows(rows, weight, begin[-1] * each), class_weight, index
