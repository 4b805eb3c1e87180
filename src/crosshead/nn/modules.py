"""The fused losses as modules, each with a linear layer of its own: drop-ins for a `torch.nn.Linear` and a loss.

As in `torch.nn.LinearCrossEntropyLoss`, the layer is the attribute ``linear``: ``module.linear.weight`` (C, D).
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor, nn

from crosshead.nn import functional


class _LinearLoss(nn.Module):
    """Abstract: a linear layer, and the keyword arguments of a function of `crosshead.nn.functional`."""

    weight: Tensor | None
    pos_weight: Tensor | None

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        bias: bool,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
        options: dict[str, Any],
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, num_classes, bias=bias, device=device, dtype=dtype)
        self.options = {name: value for name, value in options.items() if not name.endswith("weight")}
        self._vectors = [name for name in options if name.endswith("weight")]
        for name in self._vectors:
            self.register_buffer(name, options[name])

    def _arguments(self) -> dict[str, Any]:
        vectors = {name: getattr(self, name) for name in self._vectors}
        return {"linear_bias": self.linear.bias, **vectors, **self.options}

    def extra_repr(self) -> str:
        """The options that the module was made with."""
        return ", ".join(f"{name}={value!r}" for name, value in self.options.items())


@final
class LinearCrossEntropyLoss(_LinearLoss):
    """A linear layer and `functional.linear_cross_entropy`; its options are those of that function.

    Examples
    --------
    >>> import torch
    >>> loss = LinearCrossEntropyLoss(8, 1000, label_smoothing=0.1)
    >>> loss(torch.randn(4, 8), torch.tensor([1, 10, 100, -100])).shape
    torch.Size([])
    """

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
        options = {
            "weight": weight,
            "reduction": reduction,
            "ignore_index": ignore_index,
            "label_smoothing": label_smoothing,
            "softcap": softcap,
            "z_loss": z_loss,
            "return_lse": return_lse,
            "all_ignored": all_ignored,
        }
        super().__init__(in_features, num_classes, bias, device, dtype, options)

    def forward(self, input: Tensor, target: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """The loss of features (..., D) and class numbers (...) or probabilities (..., C)."""
        return functional.linear_cross_entropy(input, self.linear.weight, target, **self._arguments())


@final
class LinearMultiMarginLoss(_LinearLoss):
    """A linear layer and `functional.linear_multi_margin_loss`; its options are those of that function."""

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
        options = {"p": p, "margin": margin, "weight": weight, "reduction": reduction}
        super().__init__(in_features, num_classes, bias, device, dtype, options)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of features (..., D) and class numbers (...)."""
        return functional.linear_multi_margin_loss(input, self.linear.weight, target, **self._arguments())


@final
class LinearWestonWatkinsLoss(_LinearLoss):
    """A linear layer and `functional.linear_weston_watkins_loss`; its options are those of that function."""

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
        options = {
            "margin": margin,
            "squared": squared,
            "weight": weight,
            "reduction": reduction,
            "ignore_index": ignore_index,
            "all_ignored": all_ignored,
        }
        super().__init__(in_features, num_classes, bias, device, dtype, options)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of features (..., D) and class numbers (...)."""
        return functional.linear_weston_watkins_loss(input, self.linear.weight, target, **self._arguments())


@final
class LinearCrammerSingerLoss(_LinearLoss):
    """A linear layer and `functional.linear_crammer_singer_loss`; its options are those of that function."""

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
        options = {
            "margin": margin,
            "weight": weight,
            "reduction": reduction,
            "ignore_index": ignore_index,
            "all_ignored": all_ignored,
        }
        super().__init__(in_features, num_classes, bias, device, dtype, options)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of features (..., D) and class numbers (...)."""
        return functional.linear_crammer_singer_loss(input, self.linear.weight, target, **self._arguments())


@final
class LinearBCEWithLogitsLoss(_LinearLoss):
    """A linear layer and `functional.linear_binary_cross_entropy_with_logits`, with that function's options."""

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
        options = {
            "weight": weight,
            "pos_weight": pos_weight,
            "reduction": reduction,
            "ignore_index": ignore_index,
            "all_ignored": all_ignored,
        }
        super().__init__(in_features, num_classes, bias, device, dtype, options)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of features (..., D) and answers (..., C) or class numbers (...)."""
        arguments = self._arguments()
        return functional.linear_binary_cross_entropy_with_logits(input, self.linear.weight, target, **arguments)


@final
class LinearMSELoss(_LinearLoss):
    """A linear layer and `functional.linear_mse_loss`; its options are those of that function."""

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
        options = {
            "weight": weight,
            "reduction": reduction,
            "ignore_index": ignore_index,
            "all_ignored": all_ignored,
        }
        super().__init__(in_features, num_classes, bias, device, dtype, options)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of features (..., D) and numbers (..., C) or class numbers (...)."""
        return functional.linear_mse_loss(input, self.linear.weight, target, **self._arguments())
