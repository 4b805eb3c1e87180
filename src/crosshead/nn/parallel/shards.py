"""W with its classes spread over processes, as a `Shard(0)` DTensor, and its local rows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from crosshead.nn.parallel.processes import Processes

START_BLOCK = 1024
"""Rows that one generator initialises: the initial values do not depend on the number of processes."""


def sharded_matrix(tensor: Tensor) -> DTensor:
    """The tensor as a `Shard(0)` DTensor on a mesh of one axis; ValueError if it is none."""
    if not isinstance(tensor, DTensor) or tensor.device_mesh.ndim != 1 or not tensor.placements[0].is_shard(0):
        raise ValueError(
            "W and b of a class-parallel loss must be DTensors with the placement Shard(0) on a mesh of one axis"
        )
    return tensor


def processes_of(tensor: Tensor) -> Processes:
    """The processes that W is spread over."""
    return Processes(sharded_matrix(tensor).device_mesh.get_group())


def local_rows(tensor: Tensor) -> Tensor:
    """The rows of W on this process, (local classes × rows per class, D), through which W gets its gradient."""
    local: Tensor = sharded_matrix(tensor).to_local()
    return local.flatten(0, 1) if local.dim() == 3 else local


def sparse_local_rows(weight: Tensor) -> Tensor:
    """`local_rows` for a row-sparse gradient: the gradient of W is then a DTensor of row-sparse shards."""
    local: Tensor = _SparseLocal.apply(sharded_matrix(weight))  # type: ignore[no-untyped-call]
    return local


def sharded_rows(local: Tensor, like: Tensor, total: int) -> Tensor:
    """Rows (n, D) of this process, of ``total`` in all processes together, as one matrix on the mesh of ``like``."""
    shape = torch.Size((total, local.shape[1]))
    rows: Tensor = DTensor.from_local(
        local, sharded_matrix(like).device_mesh, [Shard(0)], run_check=False, shape=shape, stride=(shape[1], 1)
    )
    return rows


def as_matrix(weight: Tensor) -> Tensor:
    """W (C, K, D) with K sub-centres as (C × K, D); W with two dimensions unchanged."""
    if weight.dim() == 2:
        return weight
    return sharded_rows(local_rows(weight), weight, weight.shape[0] * weight.shape[1])


def spread(parameter: nn.Parameter, classes: int, mesh: DeviceMesh, deviation: float) -> nn.Parameter:
    """A head's parameter spread over the processes of the mesh, whole classes to each.

    A parameter on the device "meta" gets normal numbers of this deviation, each process its own part; another one gets
    the values that rank 0 has. If a class has K > 1 rows, the result is (C, K, D).
    """
    whole = parameter.detach()
    if whole.dim() == 2 and len(whole) != classes:
        whole = whole.view(classes, -1, whole.shape[1])
    if whole.is_meta:
        found = _initialised(whole, mesh, deviation)
    else:
        found = distribute_tensor(whole.to(mesh.device_type), mesh, [Shard(0)])
    return nn.Parameter(found, requires_grad=parameter.requires_grad)


def _initialised(whole: Tensor, mesh: DeviceMesh, deviation: float) -> DTensor:
    processes = Processes(mesh.get_group())
    device = torch.device(mesh.device_type)
    seed = processes.all_gather(torch.randint(2**31, (1,)).to(device))[0].item()
    each = -(-len(whole) // processes.size)  # as torch.chunk, which is how DTensors are cut
    first, last = (min(len(whole), (processes.rank + more) * each) for more in (0, 1))
    local = torch.zeros((last - first, *whole.shape[1:]), dtype=whole.dtype, device=device)
    if deviation:
        for block in range(first // START_BLOCK, -(-last // START_BLOCK) if last > first else 0):
            generator = torch.Generator().manual_seed((int(seed) + block * 0x9E3779B1) % 2**32)
            start = block * START_BLOCK
            values = torch.randn((START_BLOCK, *whole.shape[1:]), generator=generator).mul_(deviation)
            begin, end = max(start, first), min(start + START_BLOCK, last)
            local[begin - first : end - first] = values[begin - start : end - start].to(local)
    return DTensor.from_local(
        local, mesh, [Shard(0)], run_check=False, shape=whole.shape, stride=torch.empty_like(whole).stride()
    )


class _SparseLocal(torch.autograd.Function):
    """The shard of W as rows, whose gradient must be row-sparse and holds all rows of a class or none.

    PyTorch cannot accumulate a DTensor of row-sparse shards, so ``backward`` stores the gradient in ``W.grad`` itself:
    `torch.autograd.grad` does not find it.
    """

    @staticmethod
    def forward(ctx: Any, weight: DTensor) -> Tensor:
        ctx.weight = weight
        return weight._local_tensor.detach().view(-1, weight.shape[-1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        weight = ctx.weight
        found = _of_classes(gradient.coalesce(), weight._local_tensor.shape)
        if weight.grad is not None:
            found = (weight.grad.to_local() + found).coalesce()
        weight.grad = DTensor(found, weight._spec, requires_grad=False)  # type: ignore[no-untyped-call]
        return None


def _of_classes(gradient: Tensor, shape: torch.Size) -> Tensor:
    """A row-sparse gradient (C × K, D), of all rows of a class or none, in this shape, (C, D) or (C, K, D)."""
    if len(shape) == 2:
        return gradient
    classes = gradient.indices()[:, :: shape[1]] // shape[1]
    values = gradient.values().view(-1, *shape[1:])
    return torch.sparse_coo_tensor(classes, values, shape, is_coalesced=True, check_invariants=True)
