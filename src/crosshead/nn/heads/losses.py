"""The losses of a `ClassificationHead` by name: the built-in losses of `crosshead.losses`, with their options.

A mean is over rows, as in `crosshead.LinearClassifier`: "binary" and "squared_error" are sums over classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from inspect import signature
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from crosshead.nn import functional

FIXED = ("linear_bias", "squared", "return_lse", "reduction")
"""Arguments of the functions that a head sets."""


@dataclass(frozen=True)
class HeadLoss:
    """A ``function`` of `crosshead.nn.functional`, the function's names of the head's ``reductions``, and more.

    ``confidence(scores (N, k), log-sum-exp (N, 1))`` is the probability of a class; None if the loss has no probability
    model. ``weight_multiplies_rows``: whether ``weight`` is a factor of a whole row, by its class, or of single terms.
    """

    function: Callable[..., Any]
    reductions: Mapping[str, str]
    confidence: Callable[[Tensor, Tensor], Tensor] | None = None
    weight_multiplies_rows: bool = True

    @property
    def options(self) -> tuple[str, ...]:
        """The names of the function's options."""
        parameters = signature(self.function).parameters.values()
        return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in FIXED)


_ROWS = MappingProxyType({"mean": "mean", "sum": "sum", "none": "none"})
_ELEMENTS = MappingProxyType({"mean": "batchmean", "sum": "sum", "none": "rows"})

HEAD_LOSSES: Mapping[str, HeadLoss] = MappingProxyType(
    {
        "softmax": HeadLoss(functional.linear_cross_entropy, _ROWS, lambda scores, lse: torch.exp(scores - lse)),
        "binary": HeadLoss(
            functional.linear_binary_cross_entropy_with_logits,
            _ELEMENTS,
            lambda scores, lse: torch.sigmoid(scores),
            weight_multiplies_rows=False,
        ),
        "hinge": HeadLoss(functional.linear_weston_watkins_loss, _ROWS),
        "squared_hinge": HeadLoss(partial(functional.linear_weston_watkins_loss, squared=True), _ROWS),
        "crammer_singer": HeadLoss(functional.linear_crammer_singer_loss, _ROWS),
        "squared_error": HeadLoss(functional.linear_mse_loss, _ELEMENTS, weight_multiplies_rows=False),
    }
)


def head_loss(name: str, options: Mapping[str, Any]) -> HeadLoss:
    """The loss of this name; ValueError for an unknown loss, or an option that it does not have.

    >>> head_loss("hinge", {"margin": 2.0}).options
    ('margin', 'weight', 'ignore_index', 'all_ignored')
    """
    if name not in HEAD_LOSSES:
        raise ValueError(f"unknown loss {name!r}; choose one of {', '.join(HEAD_LOSSES)}")
    loss = HEAD_LOSSES[name]
    for option in options:
        if option not in loss.options:
            raise ValueError(f"loss {name!r} has no option {option!r}; it takes {', '.join(loss.options)}")
    return loss
