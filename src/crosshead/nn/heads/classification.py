"""The last layer of a classifier as one module: scores, loss, predictions, and conversion to other forms."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Any, cast, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from crosshead.nn.backends.projections import Linear
from crosshead.nn.fused.prediction import Prediction, best_classes
from crosshead.nn.heads.buffers import data_device
from crosshead.nn.heads.convert import classifier_with, loss_and_options
from crosshead.nn.heads.losses import head_loss

if TYPE_CHECKING:
    from crosshead.linear import LinearClassifier

START = 0.1
"""Standard deviation of the initial scores for features of unit variance; the softmax loss is then ln C + 0.005."""


@final
class ClassificationHead(nn.Module):
    """The last layer with its loss: ``head(features, target)`` is the loss of W x + b, computed without stored scores.

    Weights are initialised with normal numbers of standard deviation 0.1/√D and biases with 0. For features of unit
    variance the initial scores of all classes are nearly equal, and the first loss of "softmax" is within 5 % of ln C.

    Parameters
    ----------
    in_features, num_classes : int
        D and C.
    loss : str
        "softmax", "binary", "hinge", "squared_hinge", "crammer_singer" or "squared_error", with the same meaning as in
        `crosshead.LinearClassifier`: the losses "binary" and "squared_error" of a row are sums over classes.
    bias : bool
        Whether the layer has b.
    reduction : {"mean", "sum", "none"}
        Over rows.
    device, dtype : optional
    **options
        Options of the loss's function in `crosshead.nn.functional`: ``label_smoothing``, ``softcap`` and ``z_loss`` for
        "softmax", ``margin`` for the hinge losses, ``pos_weight`` for "binary"; ``weight``, ``ignore_index`` and
        ``all_ignored`` for all.

    Attributes
    ----------
    weight, bias : Parameter (C, D), Parameter (C,) or None
    labels : ndarray (C,) or None
        The labels of the classes, if the head comes from a `LinearClassifier`.

    Raises
    ------
    ValueError
        An unknown loss or reduction, or an option that the loss does not have.

    Examples
    --------
    >>> import torch
    >>> head = ClassificationHead(8, 1000, label_smoothing=0.1)
    >>> features, target = torch.randn(4, 8), torch.tensor([1, 10, 100, 999])
    >>> head(features, target).backward()
    >>> head.weight.grad.shape, head.predict(features, k=3).classes.shape
    (torch.Size([1000, 8]), torch.Size([4, 3]))
    """

    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        loss: str = "softmax",
        bias: bool = True,
        *,
        reduction: str = "mean",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.loss, self.reduction = loss, reduction
        self._head_loss = head_loss(loss, options)
        if reduction not in self._head_loss.reductions:
            raise ValueError(f"reduction must be 'mean', 'sum' or 'none', not {reduction!r}")
        self.weight = nn.Parameter(torch.empty((num_classes, in_features), device=device, dtype=dtype))
        self.register_parameter(
            "bias", nn.Parameter(torch.empty(num_classes, device=device, dtype=dtype)) if bias else None
        )
        self.options = {name: value for name, value in options.items() if not isinstance(value, Tensor)}
        self._vectors = [name for name, value in options.items() if isinstance(value, Tensor)]
        for name in self._vectors:
            self.register_buffer(_buffer(name), options[name].to(data_device(device)))
        self.labels: Any = None
        self.reset_parameters()

    @property
    def in_features(self) -> int:
        """D."""
        return self.weight.shape[1]

    @property
    def num_classes(self) -> int:
        """C."""
        return self.weight.shape[0]

    @property
    def start_deviation(self) -> float:
        """Standard deviation of the initial weights."""
        return START / sqrt(max(1, self.in_features))

    def reset_parameters(self) -> None:
        """Initialise W and b again, for nearly equal scores of all classes."""
        nn.init.normal_(self.weight, std=self.start_deviation)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, features: Tensor, target: Tensor) -> Tensor:
        """The loss of features (..., D); ``target`` is class numbers (...), or (..., C) if the loss supports that."""
        value: Tensor = self._head_loss.function(
            features,
            self.weight,
            target,
            linear_bias=self.bias,
            reduction=self._head_loss.reductions[self.reduction],
            **self._class_vectors(),
            **self.options,
        )
        return value

    def scores(self, features: Tensor) -> Tensor:
        """All scores (..., C) of features (..., D), with the loss's soft cap."""
        z = linear(features, self.weight, self.bias)
        return torch.tanh(z / self._softcap) * self._softcap if self._softcap else z

    def predict(self, features: Tensor, k: int = 5) -> Prediction:
        """The k best classes for features (..., D), best first, computed without storing all scores; without gradient.

        >>> head = ClassificationHead.from_linear(nn.Linear(3, 3))
        >>> with torch.no_grad():
        ...     _ = head.weight.copy_(torch.eye(3)), head.bias.zero_()
        >>> head.predict(torch.tensor([0.0, 2.0, 1.0]), k=2).classes
        tensor([1, 2])
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k!r}")
        if features.dim() == 0 or features.shape[-1] != self.in_features:
            raise ValueError(f"features must have shape (..., {self.in_features}), not {tuple(features.shape)}")
        best = best_classes(
            Linear(), features.reshape(-1, self.in_features), self.weight, self.bias, k, self._softcap or 0.0
        )
        shape = (*features.shape[:-1], best.scores.shape[1])
        confidence = self._head_loss.confidence
        return Prediction(
            best.classes.reshape(shape),
            best.scores.reshape(shape),
            None if confidence is None else confidence(best.scores, best.lse[:, None]).reshape(shape),
        )

    @classmethod
    def from_linear(cls, layer: nn.Linear, loss: str = "softmax", **options: Any) -> ClassificationHead:
        """A head that shares the parameters of ``layer``: training one trains the other.

        >>> layer = nn.Linear(3, 7)
        >>> ClassificationHead.from_linear(layer).weight is layer.weight
        True
        """
        head = cls(layer.in_features, layer.out_features, loss, layer.bias is not None, device="meta", **options)
        head.weight, head.bias = cast(nn.Parameter, layer.weight), cast("nn.Parameter | None", layer.bias)
        for name in head._vectors:
            setattr(head, _buffer(name), options[name].to(layer.weight.device))
        return head

    def to_linear(self) -> nn.Linear:
        """A `torch.nn.Linear` that shares the parameters of this head.

        >>> head = ClassificationHead(3, 7)
        >>> head.to_linear().weight is head.weight
        True
        """
        layer = nn.Linear(self.in_features, self.num_classes, bias=self.bias is not None, device="meta")
        layer.weight = self.weight
        if self.bias is not None:
            layer.bias = self.bias
        return layer

    @classmethod
    def from_classifier(
        cls,
        classifier: LinearClassifier,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> ClassificationHead:
        """A head with the weights, loss and labels of a fitted `crosshead.LinearClassifier`.

        Target k stands for the label ``classifier.classes_[k]``. The loss does not include the penalty. Raises
        ValueError if the classifier is not fitted, or has a loss or class weights that a head does not have.

        >>> from crosshead import LinearClassifier
        >>> fitted = LinearClassifier("hinge").fit([[0.0], [1.0], [2.0]], ["a", "b", "c"])
        >>> head = ClassificationHead.from_classifier(fitted)
        >>> head.labels[head.predict(torch.tensor([[2.0]]), k=1).classes.numpy()]
        array([['c']], dtype='<U1')
        """
        loss, options = loss_and_options(classifier, dtype)
        classes, features = classifier.coef_.shape
        head = cls(features, classes, loss, classifier.fit_intercept, device=device, dtype=dtype, **options)
        with torch.no_grad():
            head.weight.copy_(torch.from_numpy(np.ascontiguousarray(classifier.coef_)))
            if head.bias is not None:
                head.bias.copy_(torch.from_numpy(np.ascontiguousarray(classifier.intercept_)))
        head.labels = np.array(classifier.classes_)
        return head

    def to_classifier(self, labels: Any = None) -> LinearClassifier:
        """A `crosshead.LinearClassifier` with this head's weights and loss, which predicts without PyTorch.

        ``labels`` (C,) defaults to the head's own labels, or 0 … C − 1. Raises ValueError for options that a
        LinearClassifier does not have, and for labels that are not C different ones.

        >>> head = ClassificationHead(3, 2, "hinge")
        >>> head.to_classifier(["no", "yes"]).classes_
        array(['no', 'yes'], dtype='<U3')
        """
        if labels is None:
            labels = np.arange(self.num_classes) if self.labels is None else self.labels
        return classifier_with(self.weight, self.bias, self.loss, {**self.options, **self._class_vectors()}, labels)

    def extra_repr(self) -> str:
        """Sizes, loss and options."""
        options = "".join(f", {name}={value!r}" for name, value in self.options.items())
        return f"{self.in_features}, {self.num_classes}, loss={self.loss!r}, bias={self.bias is not None}{options}"

    def _class_vectors(self) -> dict[str, Tensor]:
        return {name: getattr(self, _buffer(name)) for name in self._vectors}

    @property
    def _softcap(self) -> float | None:
        return self.options.get("softcap")


def _buffer(option: str) -> str:
    """The name of the buffer of a class vector; ``weight`` is the name of W."""
    return f"class_{option}"
