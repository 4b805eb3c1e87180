"""A linear layer and its loss as one function, in memory that does not grow with rows × classes.

Arguments, defaults and values are those of the functions of the same name in `torch.nn.functional`, applied to
``F.linear(input, linear_weight, linear_bias)``. ``input`` may have any leading shape (…, D), where PyTorch allows (D,)
and (N, D); class numbers have the shape (…), and numbers for each class (…, C). Results have the input's type; sums are
computed in float32 (float64 for float64). Under autocast input and weight are converted to its type, as in
``F.linear``, and the result is float32. There are first derivatives only.
"""

from __future__ import annotations

from crosshead.nn.losses.elementwise import linear_binary_cross_entropy_with_logits, linear_mse_loss
from crosshead.nn.losses.hinge import linear_crammer_singer_loss, linear_multi_margin_loss, linear_weston_watkins_loss
from crosshead.nn.losses.margin import linear_margin_cross_entropy
from crosshead.nn.losses.softmax import cross_entropy, linear_cross_entropy
from crosshead.nn.row_losses.angular_margin import margin_cosine

__all__ = [
    "cross_entropy",
    "linear_binary_cross_entropy_with_logits",
    "linear_crammer_singer_loss",
    "linear_cross_entropy",
    "linear_margin_cross_entropy",
    "linear_mse_loss",
    "linear_multi_margin_loss",
    "linear_weston_watkins_loss",
    "margin_cosine",
]
