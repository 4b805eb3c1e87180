"""A head whose classes are spread over processes, and how it is made from one that is not."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy, deepcopy
from typing import Any, final

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor

from crosshead.nn.fused.prediction import Prediction
from crosshead.nn.heads.classification import ClassificationHead
from crosshead.nn.heads.margin import ClassesOfStep, MarginHead, classes_of_step
from crosshead.nn.losses.adaptive_margin import local_total
from crosshead.nn.parallel.agreement import accept, one_step
from crosshead.nn.parallel.class_sampling import classes_of_sharded_step
from crosshead.nn.parallel.processes import Processes
from crosshead.nn.parallel.shards import spread


@final
class ClassParallelHead(nn.Module):
    """A `ClassificationHead` or `MarginHead` of which every process holds the rows of W of some classes.

    Each process has its own batch, and all call ``head(features, target)`` together; batches may differ in size and be
    empty. A mean or a sum is over the rows of all processes, with one denominator (class weights, ignored rows), and is
    the same number on every process; "none" gives each process its own rows. Losses and options are those of the given
    head. Up to rounding the result does not depend on the number of processes, except for ``sample_rate``: each process
    samples from its own classes.

    Gradients
    ---------
    Every process calls backward on its result. The objective F is the mean or the sum, counted once; for "none" it is
    the sum over processes of what each calls backward on.

    * ``head.weight`` and ``head.bias`` get ∂F/∂W over the rows of all processes. They are DTensors, and each process
      updates its part: leave them out of `DistributedDataParallel`.
    * Features get R·∂F/∂x on R processes. The network of each process sees only its own rows, so ∂F/∂θ is the *sum*
      over processes; DistributedDataParallel *averages*, that is, it also divides by R, which the factor undoes. With
      ``average_gradients=False`` the factor is 1, for those who sum.

    A process holds C/R rows of W with their gradients, the features of all rows twice, and the scores of one tile. In a
    step the features go to all processes once and their gradients come back once; everything else that is sent is a few
    numbers a row. Class weights are vectors (C,) on each process.

    Parameters
    ----------
    head : ClassificationHead or MarginHead
        If it was made with ``device="meta"``, no process ever holds all of W, which is initialised as the head does it,
        with the same values for any number of processes. Otherwise W is that of rank 0. The given head is not changed.
    mesh : DeviceMesh, optional
        A mesh of one axis; by default all processes, on "cuda" with the backend "nccl", else on "cpu".
    average_gradients : bool
        Whether the gradients of the features have the factor R, see above.

    Attributes
    ----------
    head
        The head with W (C, D) and b (C,) as DTensors of placement ``Shard(0)``; with K sub-centres W is (C, K, D).

    Notes
    -----
    ``state_dict`` has DTensors: `torch.distributed.checkpoint` saves them from any number of processes and loads them
    on any other. Optimizers do not mix DTensors and tensors in one call: give the head its own parameter group.

    `torch.compile` ends its graph before the head and begins another one after it.

    With ``sample_rate`` the gradient of W is a DTensor of row-sparse shards, for `RowSparseSGD` and `RowSparseAdam`.
    Their state belongs to one process and cannot be loaded on another number of processes. Backward stores this
    gradient in ``weight.grad`` itself, so `torch.autograd.grad` does not find it.

    Raises
    ------
    ValueError, TypeError, IndexError
        As the head does. The other processes then raise RuntimeError with the rank, instead of waiting for it.
    RuntimeError
        Without `torch.distributed.init_process_group`.

    Source: An et al., Partial FC, CVPR 2022 (classes spread over processes, features gathered).

    Examples
    --------
    >>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    >>> head = ClassParallelHead(ClassificationHead(8, 1000, label_smoothing=0.1, device="meta"))
    >>> features = torch.randn(4, 8, requires_grad=True)
    >>> head(features, torch.tensor([1, 10, 100, 999])).backward()
    >>> head.weight.grad.placements, head.predict(features, k=3).classes.shape
    ((Shard(dim=0),), torch.Size([4, 3]))
    >>> dist.destroy_process_group()
    """

    def __init__(
        self,
        head: ClassificationHead | MarginHead,
        mesh: DeviceMesh | None = None,
        *,
        average_gradients: bool = True,
    ) -> None:
        super().__init__()
        if mesh is None:
            mesh = _all_processes()
        if mesh.ndim != 1:
            raise ValueError(f"mesh must have one axis, over which the classes are spread, not {mesh.ndim}")
        self.mesh, self.average_gradients = mesh, average_gradients
        self.processes = Processes(mesh.get_group())
        self.head = _spread_head(head, mesh, self.processes)

    @property
    def weight(self) -> DTensor:
        """W, (C, D), or (C, K, D) with K sub-centres; ``weight.to_local()`` is the part of this process."""
        found = self.head.weight
        assert isinstance(found, DTensor)
        return found

    @property
    def bias(self) -> Tensor | None:
        """The bias, (C,), or None."""
        return getattr(self.head, "bias", None)

    def forward(self, features: Tensor, target: Tensor) -> Tensor:
        """The loss of features (..., D) and targets of this process, in the shapes that the head takes."""
        with self._step():
            if self.average_gradients:
                features = _Times.apply(features, float(self.processes.size))  # type: ignore[no-untyped-call]
            value: Tensor = self.head(features, target)
            return value

    def predict(self, features: Tensor, k: int = 5) -> Prediction:
        """The k best of all classes for the features (..., D) of this process; all processes call it together."""
        with self._step():
            return self.head.predict(features, k)

    def scores(self, features: Tensor) -> Tensor:
        """Not available: raises NotImplementedError, because no process may hold the scores of all classes."""
        raise NotImplementedError(
            "a ClassParallelHead has no scores of all classes: use predict(features, k), or whole().scores(features)"
        )

    def whole(self) -> ClassificationHead | MarginHead:
        """A copy of the head with all of W on every process; all processes call it together."""
        return _whole_head(self.head)

    def _step(self) -> Any:
        return one_step(self.processes, torch.device(self.mesh.device_type))

    def extra_repr(self) -> str:
        """The number of processes, and the factor of gradients."""
        return f"processes={self.processes.size}, average_gradients={self.average_gradients}"


def _all_processes() -> DeviceMesh:
    if not dist.is_available() or not dist.is_initialized():
        raise RuntimeError(
            "a ClassParallelHead needs processes: call torch.distributed.init_process_group first, or use torchrun"
        )
    device = "cuda" if "nccl" in dist.get_backend() else "cpu"
    return init_device_mesh(device, (dist.get_world_size(),))


def _spread_head(
    head: ClassificationHead | MarginHead, mesh: DeviceMesh, processes: Processes
) -> ClassificationHead | MarginHead:
    """A copy of the head with parameters spread over the processes, and sums over the rows of all of them."""
    first = {"weight": head.start_deviation, "bias": 0.0}
    own = dict(head.named_parameters(recurse=False))
    found = _with_parameters(
        head, {name: spread(parameter, head.num_classes, mesh, first[name]) for name, parameter in own.items()}
    )
    for module in found.modules():
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, buffer.to(mesh.device_type))
    if isinstance(found, MarginHead):

        def total(amount: Tensor) -> Tensor:
            accept()
            return processes.all_reduce(amount)

        _set_sums(found, classes_of_sharded_step, total)
    return found


def _whole_head(head: ClassificationHead | MarginHead) -> ClassificationHead | MarginHead:
    found = _with_parameters(
        head, {name: _whole(parameter) for name, parameter in head.named_parameters(recurse=False)}
    )
    if isinstance(found, MarginHead):
        _set_sums(found, classes_of_step, local_total)
    return found


def _set_sums(head: MarginHead, classes: ClassesOfStep, total: Callable[[Tensor], Tensor]) -> None:
    head.classes_of_step = classes
    if head.margins is not None:
        head.margins.total = total


def _with_parameters(
    head: ClassificationHead | MarginHead, parameters: dict[str, nn.Parameter]
) -> ClassificationHead | MarginHead:
    """A copy of the head with these parameters, in which the old ones are not copied."""
    found = copy(head)
    found._parameters = {**head._parameters, **parameters}
    found._buffers = {name: None if buffer is None else buffer.clone() for name, buffer in head._buffers.items()}
    found._modules = {name: deepcopy(module) for name, module in head._modules.items()}
    return found


def _whole(parameter: Tensor) -> nn.Parameter:
    assert isinstance(parameter, DTensor)
    found: Tensor = parameter.full_tensor().detach()
    return nn.Parameter(found.flatten(0, 1) if found.dim() == 3 else found, requires_grad=parameter.requires_grad)


class _Times(torch.autograd.Function):
    """The tensor unchanged; its gradient is multiplied by a factor."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return gradient * ctx.factor, None
