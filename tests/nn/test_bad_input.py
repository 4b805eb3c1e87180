"""Bad input gets one clear line: what is wrong, where, and what to do."""

from __future__ import annotations

import pytest
import torch

from crosshead.nn import ClassificationHead, LinearCrossEntropyLoss
from crosshead.nn import functional as fused

X, W = torch.zeros(4, 3), torch.zeros(5, 3)
Y = torch.zeros(4, dtype=torch.int64)
V = torch.ones(5, requires_grad=True)
CASES = [
    (
        lambda: fused.linear_cross_entropy(X, W, Y + 5),
        IndexError,
        "target 5 in row 0 is not a class: expected 0 to 4, or",
    ),
    (lambda: fused.linear_cross_entropy(X, W, Y - 1), IndexError, "target -1 in row 0 .* ignore_index=-100"),
    (
        lambda: fused.linear_multi_margin_loss(X, W, Y - 100),
        IndexError,
        "target -100 in row 0 is not a class: .* 0 to 4$",
    ),
    (lambda: fused.linear_cross_entropy(X, W, Y[:3]), ValueError, r"target must have shape \(4,\) .* or \(4, 5\)"),
    (lambda: fused.linear_cross_entropy(X, W, Y.float()), TypeError, "integer type such as int64, not torch.float32"),
    (lambda: fused.linear_cross_entropy(X, W, torch.zeros(4, 5).long()), ValueError, "target must have shape"),
    (lambda: fused.linear_mse_loss(X, W, torch.zeros(4, 5, requires_grad=True)), ValueError, "use target.detach"),
    (lambda: fused.linear_cross_entropy(X[:, :2], W, Y), ValueError, r"input must have shape \(\.\.\., 3\)"),
    (lambda: fused.linear_cross_entropy(X, W[0], Y), ValueError, "linear_weight must have 2 dimensions"),
    (lambda: fused.linear_cross_entropy(X, W[:0], Y), ValueError, "linear_weight has no classes"),
    (lambda: fused.linear_cross_entropy(X, W, Y, linear_bias=X[0]), ValueError, r"linear_bias must have shape \(5,\)"),
    (lambda: fused.linear_cross_entropy(X, W.double(), Y), TypeError, "linear_weight is torch.float64 but input is"),
    (lambda: fused.linear_cross_entropy(X.long(), W.long(), Y), TypeError, "input must be float64, float32, bfloat16"),
    (
        lambda: fused.linear_cross_entropy(X, W.to("meta"), Y),
        ValueError,
        "linear_weight is on meta but input is on cpu",
    ),
    (
        lambda: fused.linear_cross_entropy(X, W, Y, weight=X[0]),
        ValueError,
        r"weight must have shape \(5,\), one number",
    ),
    (lambda: fused.linear_cross_entropy(X, W, Y, reduction="avg"), ValueError, "'none', 'mean' or 'sum', not 'avg'"),
    (lambda: fused.linear_cross_entropy(X, W, Y, all_ignored="0"), ValueError, "all_ignored must be 'nan' or 'zero'"),
    (lambda: fused.linear_cross_entropy(X, W, Y, label_smoothing=1.1), ValueError, "label_smoothing must be between 0"),
    (lambda: fused.linear_cross_entropy(X, W, Y, softcap=0.0), ValueError, "softcap must be a positive number"),
    (lambda: fused.linear_cross_entropy(X, W, Y, z_loss=-1.0), ValueError, "z_loss must be at least 0"),
    (lambda: fused.linear_multi_margin_loss(X, W, Y, p=3), ValueError, "p must be 1 or 2"),
    (lambda: fused.linear_weston_watkins_loss(X, W, Y, margin=float("nan")), ValueError, "margin must be"),
    (lambda: fused.linear_mse_loss(X, W, Y, reduction="none"), ValueError, "rows × classes losses.* use 'rows'"),
    (lambda: fused.linear_mse_loss(X, W, Y, reduction="avg"), ValueError, "'mean', 'sum', 'batchmean' or 'rows'"),
    (lambda: fused.linear_mse_loss(X, W, Y, weight=torch.ones(4, 5)), ValueError, r"one number a class, or \(4, 1\)"),
    (lambda: fused.linear_cross_entropy(X, W, torch.ones(4, 5), ignore_index=0), ValueError, "needs a target of class"),
    (lambda: fused.linear_cross_entropy(X, W, Y, weight=V), ValueError, r"weight requires grad.* weight.detach\(\)"),
    (lambda: fused.cross_entropy(X[:, :0], Y), ValueError, "at least one class"),
    (lambda: fused.cross_entropy(X.long(), Y), TypeError, "input must be float64"),
    (lambda: ClassificationHead(3, 5, "cosine"), ValueError, "unknown loss 'cosine'; choose one of softmax, binary"),
    (
        lambda: ClassificationHead(3, 5, margin=1.0),
        ValueError,
        "loss 'softmax' has no option 'margin'; it takes weight",
    ),
    (lambda: ClassificationHead(3, 5, reduction="rows"), ValueError, "reduction must be 'mean', 'sum' or 'none'"),
    (lambda: ClassificationHead(3, 5).predict(X, k=0), ValueError, "k must be at least 1"),
    (lambda: ClassificationHead(3, 5).predict(X[:, :2]), ValueError, r"features must have shape \(\.\.\., 3\)"),
    (lambda: LinearCrossEntropyLoss(3, 5)(X, Y + 9), IndexError, "target 9 in row 0"),
]


@pytest.mark.parametrize(("mistake", "error", "message"), CASES)
def test_one_line_says_what_is_wrong(mistake, error, message):
    with pytest.raises(error, match=message) as caught:
        mistake()
    assert "\n" not in str(caught.value)
