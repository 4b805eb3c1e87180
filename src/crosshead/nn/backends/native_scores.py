"""Softmax loss and gradient of given scores by the native kernel, which reads each score from memory once.

The functions are those of `ScoreBackend`. The reference implementation, `crosshead.nn.backends.scores`, computes what
`supports` refuses.
"""

from __future__ import annotations

import torch
from torch import Tensor

from crosshead.nn.backends.native_arrays import (
    NUMBERS,
    STATE_FIELDS,
    is_matrix,
    is_readable,
    is_target_matrix,
    vector,
    view,
)
from crosshead.nn.backends.native_kernels import kernel_of
from crosshead.nn.backends.products import accumulation_type
from crosshead.nn.row_losses import RowLoss, Targets

try:
    from crosshead import _native
except ImportError:  # built without a C++ compiler
    _native = None  # type: ignore[assignment]


def supports(loss: RowLoss, scores: Tensor, targets: Targets) -> bool:
    """Whether the native kernel computes this: a softmax loss of scores and targets that it can read without a copy."""
    kernel = kernel_of(loss)
    if _native is None or kernel is None or kernel.name != "softmax" or kernel.margin_loss is not None:
        return False
    if not all(is_readable(tensor) for tensor in (scores, targets.index, targets.dense, targets.class_weight)):
        return False
    return is_matrix(scores) and (targets.dense is None or is_target_matrix(targets.dense, scores))


def states(loss: RowLoss, scores: Tensor, targets: Targets) -> Tensor:
    """As `crosshead.nn.backends.scores.states`."""
    state = _empty_state(scores)
    _run(loss, scores, targets, state, known=False)
    return state


def gradient(loss: RowLoss, scores: Tensor, targets: Targets, state: Tensor, upstream: Tensor) -> Tensor:
    """As `crosshead.nn.backends.scores.gradient`."""
    out = torch.empty(scores.shape, dtype=scores.dtype)
    _run(loss, scores, targets, state.detach().contiguous(), known=True, upstream=upstream, out=out)
    return out


def states_and_gradient(
    loss: RowLoss, scores: Tensor, targets: Targets, upstream: Tensor, *, out: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """As `scores.states_and_gradient`; the gradient goes to ``out`` if given, which may be the scores."""
    state = _empty_state(scores)
    out = torch.empty(scores.shape, dtype=scores.dtype) if out is None else out
    _run(loss, scores, targets, state, known=False, upstream=upstream, out=out)
    return state, out


def _empty_state(scores: Tensor) -> Tensor:
    return torch.empty((STATE_FIELDS, len(scores)), dtype=accumulation_type(scores.dtype))


def _run(
    loss: RowLoss,
    scores: Tensor,
    targets: Targets,
    state: Tensor,
    *,
    known: bool,
    upstream: Tensor | None = None,
    out: Tensor | None = None,
) -> None:
    kernel, wide = kernel_of(loss), accumulation_type(scores.dtype)
    assert kernel is not None
    rows = None if upstream is None else upstream.detach().to(wide)
    _native.score_loss(
        isa="",
        number=NUMBERS[scores.dtype],
        scores=view(scores),
        labels=None if targets.index is None else view(targets.index.to(torch.int64).contiguous()),
        soft_target=view(targets.dense),
        class_weight=vector(targets.class_weight, wide),
        label_smoothing=kernel.label_smoothing,
        softcap=kernel.softcap,
        z_loss=kernel.z_loss,
        state=view(state),
        state_known=known,
        upstream=None if rows is None else view(rows[0].contiguous()),
        lse_upstream=None if rows is None or len(rows) < 2 else view(rows[1].contiguous()),
        gradient=view(out),
        threads=torch.get_num_threads(),
    )
