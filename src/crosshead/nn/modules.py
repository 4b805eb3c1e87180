"""The fused losses as modules, each with a linear layer of its own: drop-ins for a `torch.nn.Linear` and a loss.

As in `torch.nn.LinearCrossEntropyLoss`, the layer is the attribute ``linear``: ``module.linear.weight`` (C, D).

Every module has the options of its function in `crosshead.nn.functional`, with the same defaults. The parameters of
``__init__`` are the only list of them: the base class keeps what is given and passes it to the function.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any, ClassVar, Generic, TypeVar, final

import torch
from torch import Tensor, nn

from crosshead.nn import functional

Result = TypeVar("Result")

LAYER = ("in_features", "num_classes", "bias", "device", "dtype")
"""Parameters of the linear layer; all others are options of the function."""


class LinearLoss(nn.Module, Generic[Result]):
    """A linear layer and a loss ``function`` of `crosshead.nn.functional`. Abstract.

    ``arguments`` are those of the subclass's ``__init__`` by name, as ``locals()`` gives them there; names that are not
    its parameters are left out. Options called ``…weight`` are tensors or None, and become buffers.
    """

    function: ClassVar[Callable[..., Any]]
    weight: Tensor | None
    pos_weight: Tensor | None

    def __init__(self, arguments: dict[str, Any]) -> None:
        super().__init__()
        layer = {name: arguments[name] for name in LAYER}
        self.linear = nn.Linear(
            layer["in_features"], layer["num_classes"], layer["bias"], device=layer["device"], dtype=layer["dtype"]
        )
        names = [name for name in signature(type(self)).parameters if name not in LAYER]
        self.options = {name: arguments[name] for name in names if not name.endswith("weight")}
        self._vectors = [name for name in names if name.endswith("weight")]
        for name in self._vectors:
            self.register_buffer(name, arguments[name])

    def forward(self, input: Tensor, target: Tensor) -> Result:
        """The loss of features (..., D) and a target as the function takes it."""
        vectors = {name: getattr(self, name) for name in self._vectors}
        value: Result = type(self).function(
            input, self.linear.weight, target, linear_bias=self.linear.bias, **vectors, **self.options
        )
        return value

    def extra_repr(self) -> str:
        """The options that are not tensors."""
        return ", ".join(f"{name}={value!r}" for name, value in self.options.items())


@final
class LinearCrossEntropyLoss(LinearLoss[Tensor | tuple[Tensor, Tensor]]):
    """Cross-entropy of softmax(W x + b), in nats: `functional.linear_cross_entropy` with a layer of its own.

    ℓ = log Σ_c exp z_c − z_y with z = W x + b, for class numbers without options.

    Parameters
    ----------
    in_features, num_classes : int
        D and C.
    bias : bool
        Whether the layer has b (C,).
    weight, reduction, ignore_index, label_smoothing, softcap, z_loss, return_lse, all_ignored
        As in `functional.linear_cross_entropy`.
    device, dtype : optional
        Of the layer's parameters.

    Called with features (..., D) and class numbers (...) or probabilities (..., C). Raises what the function raises.

    Examples
    --------
    >>> loss = LinearCrossEntropyLoss(8, 1000, label_smoothing=0.1)
    >>> loss(torch.randn(4, 8), torch.tensor([1, 10, 100, -100])).shape
    torch.Size([])
    """

    function = staticmethod(functional.linear_cross_entropy)

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        bias: bool = False,
        weight: Tensor | None = None,
        reduction: str = "mean",
        ignore_index: int = -100,
        label_smoothing: float = 0.0,
        softcap: float | None = None,
        z_loss: float = 0.0,
        return_lse: bool = False,
        all_ignored: str = "nan",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(locals())


@final
class LinearMultiMarginLoss(LinearLoss[Tensor]):
    """PyTorch's multi-class margin loss of W x + b: `functional.linear_multi_margin_loss` with a layer of its own.

    ℓ = (w_y / C)·Σ_{j≠y} max(0, Δ − z_y + z_j)^p with z = W x + b and Δ = ``margin``.

    Parameters
    ----------
    in_features, num_classes : int
        D and C.
    bias : bool
        Whether the layer has b (C,).
    p, margin, weight, reduction
        As in `functional.linear_multi_margin_loss`.
    device, dtype : optional
        Of the layer's parameters.

    Called with features (..., D) and class numbers (...). Raises what the function raises.

    Examples
    --------
    >>> loss = LinearMultiMarginLoss(8, 1000, p=2)
    >>> loss(torch.randn(4, 8), torch.tensor([1, 10, 100, 999])).shape
    torch.Size([])
    """

    function = staticmethod(functional.linear_multi_margin_loss)

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        bias: bool = False,
        p: int = 1,
        margin: float = 1.0,
        weight: Tensor | None = None,
        reduction: str = "mean",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(locals())


@final
class LinearWestonWatkinsLoss(LinearLoss[Tensor]):
    """Weston and Watkins' multi-class hinge of W x + b: `functional.linear_weston_watkins_loss` with its own layer.

    ℓ = Σ_{j≠y} max(0, z_j − z_y + Δ)^p with z = W x + b, Δ = ``margin``, and p = 2 if ``squared``, else 1.

    Parameters
    ----------
    in_features, num_classes : int
        D and C.
    bias : bool
        Whether the layer has b (C,).
    margin, squared, weight, reduction, ignore_index, all_ignored
        As in `functional.linear_weston_watkins_loss`.
    device, dtype : optional
        Of the layer's parameters.

    Called with features (..., D) and class numbers (...). Raises what the function raises.

    Examples
    --------
    >>> loss = LinearWestonWatkinsLoss(8, 1000, squared=True)
    >>> loss(torch.randn(4, 8), torch.tensor([1, 10, 100, -100])).shape
    torch.Size([])
    """

    function = staticmethod(functional.linear_weston_watkins_loss)

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        bias: bool = False,
        margin: float = 1.0,
        squared: bool = False,
        weight: Tensor | None = None,
        reduction: str = "mean",
        ignore_index: int = -100,
        all_ignored: str = "nan",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(locals())


@final
class LinearCrammerSingerLoss(LinearLoss[Tensor]):
    """Crammer and Singer's multi-class hinge of W x + b: `functional.linear_crammer_singer_loss` with its own layer.

    ℓ = max(0, max_{j≠y} z_j − z_y + Δ) with z = W x + b and Δ = ``margin``.

    Parameters
    ----------
    in_features, num_classes : int
        D and C.
    bias : bool
        Whether the layer has b (C,).
    margin, weight, reduction, ignore_index, all_ignored
        As in `functional.linear_crammer_singer_loss`.
    device, dtype : optional
        Of the layer's parameters.

    Called with features (..., D) and class numbers (...). Raises what the function raises.

    Examples
    --------
    >>> loss = LinearCrammerSingerLoss(8, 1000, margin=0.5)
    >>> loss(torch.randn(4, 8), torch.tensor([1, 10, 100, -100])).shape
    torch.Size([])
    """

    function = staticmethod(functional.linear_crammer_singer_loss)

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        bias: bool = False,
        margin: float = 1.0,
        weight: Tensor | None = None,
        reduction: str = "mean",
        ignore_index: int = -100,
        all_ignored: str = "nan",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(locals())


@final
class LinearBCEWithLogitsLoss(LinearLoss[Tensor]):
    """Binary cross-entropy of every score of W x + b: `functional.linear_binary_cross_entropy_with_logits`.

    ℓ_c = w_c·( (1 − t_c)·log(1 + exp z_c) + v_c·t_c·log(1 + exp −z_c) ), in nats, with z = W x + b, w = ``weight`` and
    v = ``pos_weight``.

    Parameters
    ----------
    in_features, num_classes : int
        D and C.
    bias : bool
        Whether the layer has b (C,).
    weight, pos_weight, reduction, ignore_index, all_ignored
        As in `functional.linear_binary_cross_entropy_with_logits`.
    device, dtype : optional
        Of the layer's parameters.

    Called with features (..., D) and probabilities (..., C) or class numbers (...). Raises what the function raises.

    Examples
    --------
    >>> loss = LinearBCEWithLogitsLoss(8, 1000, reduction="batchmean")
    >>> loss(torch.randn(4, 8), torch.rand(4, 1000)).shape
    torch.Size([])
    """

    function = staticmethod(functional.linear_binary_cross_entropy_with_logits)

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        bias: bool = False,
        weight: Tensor | None = None,
        pos_weight: Tensor | None = None,
        reduction: str = "mean",
        ignore_index: int = -100,
        all_ignored: str = "nan",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(locals())


@final
class LinearMSELoss(LinearLoss[Tensor]):
    """Squared error of the scores W x + b: `functional.linear_mse_loss` with a layer of its own.

    ℓ_c = w_c·(z_c − t_c)² with z = W x + b and w = ``weight``.

    Parameters
    ----------
    in_features, num_classes : int
        D and C.
    bias : bool
        Whether the layer has b (C,).
    weight, reduction, ignore_index, all_ignored
        As in `functional.linear_mse_loss`.
    device, dtype : optional
        Of the layer's parameters.

    Called with features (..., D) and numbers (..., C) or class numbers (...). Raises what the function raises.

    Examples
    --------
    >>> loss = LinearMSELoss(8, 1000, reduction="batchmean")
    >>> loss(torch.randn(4, 8), torch.tensor([1, 10, 100, -100])).shape
    torch.Size([])
    """

    function = staticmethod(functional.linear_mse_loss)

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        bias: bool = False,
        weight: Tensor | None = None,
        reduction: str = "mean",
        ignore_index: int = -100,
        all_ignored: str = "nan",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(locals())
