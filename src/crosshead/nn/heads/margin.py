"""The last layer of a network that learns embeddings: directions of the classes and a margin loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor, nn

from crosshead.nn.fused.inputs import IGNORED, check_reduction, class_vector, index_target
from crosshead.nn.fused.prediction import Prediction, best_classes
from crosshead.nn.heads.buffers import data_device
from crosshead.nn.heads.class_sampling import gather_rows, sample_classes
from crosshead.nn.losses.adaptive_margin import NormMargins
from crosshead.nn.losses.margin import cosine_projection, directions, linear_margin_cross_entropy, margin_softmax
from crosshead.nn.row_losses.angular_margin import Amount, MarginGradient


@final
class MarginHead(nn.Module):
    """A direction for every class, and softmax over scaled cosines with a margin for the row's own class.

    ``head(features, target)`` is `linear_margin_cross_entropy` of features (..., D) and class numbers (...); features
    and ``head.weight`` (C × sub_centers, D) are normalised inside: ℓ = −log softmax(z)_y with z_c = s·cos θ_c for c ≠ y
    and z_y = s·(cos(m₁θ_y + m₂) − m₃). At test time embeddings are compared with one another
    (`crosshead.evaluation.verification.roc`) without the head, or `predict` gives the class.

    Parameters
    ----------
    in_features, num_classes : int
        D and C.
    m1, m2, m3, scale, easy_margin, margin_gradient, sub_centers, label_smoothing, reduction, ignore_index, all_ignored
        As in `linear_margin_cross_entropy`. (1, 0.5, 0) is ArcFace, (1, 0, 0.35) CosFace.
    weight : Tensor (C,), optional
        Class weights, kept as the buffer ``class_weight``.
    adaptive : bool
        AdaFace: the margin of a row depends on the norm ‖x‖ of its features. With ẑ = h·(‖x‖ − μ)/(σ + 10⁻³),
        clipped to −1 … 1, a row has m₂ = −m·ẑ and m₃ = m + m·ẑ, where m is ``m2`` (0.4 in the paper); ``m1`` must be
        1, ``m3`` 0. μ and σ are running statistics of the norms.
    h, t_alpha : float
        h above, and the share of a new batch in the running statistics.
    sample_rate : float
        Below 1, a training step uses the classes of the batch and randomly drawn others, ``sample_size`` =
        ``sample_rate``·C in all: Partial FC. Softmax and label smoothing are over these classes only. The gradient of
        ``head.weight`` is then row-sparse, and most optimizers of `torch.optim` refuse it or store a dense state: use
        `RowSparseSGD` or `RowSparseAdam`, with ``state_rows=head.sample_size`` (or a few times that) for a state as
        small as the sample, and clip the gradients of the network without the head's. In evaluation mode all classes
        are used. The number of classes in a batch is not known beforehand, so such a step does not compile to one
        graph.
    sample_seed : int, optional
        With it the draws depend only on this seed and the number of the step, which is saved with the head. Without it
        they come from torch's global generator.

    Raises
    ------
    ValueError
        Sizes, margins or rates outside their domain; features of another size.
    TypeError, IndexError
        A target that is not class numbers, or not a class.

    Sources: those of `linear_margin_cross_entropy`; Kim, Jain and Liu, AdaFace, CVPR 2022; An et al., Partial FC,
    CVPR 2022.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> head = MarginHead(8, 1000, m2=0.3, scale=16.0)
    >>> features = torch.randn(4, 8, requires_grad=True)
    >>> head(features, torch.tensor([3, 1, 4, 1])).backward()
    >>> head.weight.grad.shape, head.scores(features).shape
    (torch.Size([1000, 8]), torch.Size([4, 1000]))
    """

    class_weight: Tensor | None
    sampled_steps: Tensor | None

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        m1: float = 1.0,
        m2: float = 0.5,
        m3: float = 0.0,
        scale: float = 64.0,
        *,
        easy_margin: bool = False,
        margin_gradient: MarginGradient = "exact",
        sub_centers: int = 1,
        adaptive: bool = False,
        h: float = 0.333,
        t_alpha: float = 0.01,
        sample_rate: float = 1.0,
        sample_seed: int | None = None,
        label_smoothing: float = 0.0,
        weight: Tensor | None = None,
        reduction: str = "mean",
        ignore_index: int = -100,
        all_ignored: str = "nan",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if in_features < 1 or num_classes < 1:
            raise ValueError(f"a head needs at least 1 feature and 1 class, not {in_features} and {num_classes}")
        if not 0 < sample_rate <= 1:
            raise ValueError(
                f"sample_rate is the share of classes in a step, above 0 and at most 1, not {sample_rate!r}"
            )
        if adaptive and (m1 != 1 or m3 != 0):
            raise ValueError(f"adaptive margins have m1 = 1 and m3 = 0, and m2 is their size; not m1={m1}, m3={m3}")
        check_reduction(reduction, all_ignored)
        margin_softmax(m1, m2, m3, scale, easy_margin, margin_gradient, label_smoothing)  # checks the options
        self.projection = cosine_projection(sub_centers)
        self.in_features, self.num_classes, self.sub_centers = in_features, num_classes, sub_centers
        self.m1, self.m2, self.m3, self.scale = m1, m2, m3, scale
        self.easy_margin, self.margin_gradient = easy_margin, margin_gradient
        self.sample_rate, self.sample_seed = sample_rate, sample_seed
        self.label_smoothing, self.reduction = label_smoothing, reduction
        self.ignore_index, self.all_ignored = ignore_index, all_ignored
        self.weight = nn.Parameter(torch.empty(num_classes * sub_centers, in_features, device=device, dtype=dtype))
        self.margins = NormMargins(m2, h, t_alpha, data_device(device)) if adaptive else None
        self.register_buffer("class_weight", class_vector("weight", weight, num_classes))
        steps = torch.zeros((), dtype=torch.long, device=data_device(device))
        seeded = sample_rate < 1 and sample_seed is not None
        self.register_buffer("sampled_steps", steps if seeded else None)
        self.classes_of_step: ClassesOfStep = classes_of_step
        self.reset_parameters()

    @property
    def sample_size(self) -> int:
        """The number of classes in a training step; a step has more only if the batch has."""
        return max(1, round(self.sample_rate * self.num_classes))

    @property
    def start_deviation(self) -> float:
        """Standard deviation of the initial weights."""
        return 1 / math.sqrt(self.in_features)

    def reset_parameters(self) -> None:
        """Initialise W with random directions of norm near 1; only the size of gradients depends on the norm."""
        nn.init.normal_(self.weight, std=self.start_deviation)

    def forward(self, features: Tensor, target: Tensor) -> Tensor:
        """The loss, in nats, of features (..., D) and class numbers (...)."""
        if target.is_floating_point():
            raise TypeError(f"a margin belongs to one class a row: target must be class numbers, not {target.dtype}")
        features = self._checked(features)
        index = index_target(target, features.shape[:-1], self.num_classes, self.ignore_index).view(target.shape)
        m2, m3 = self._margins_of(features, index != IGNORED)
        rows, class_weight, index = self.classes_of_step(self, index)
        return linear_margin_cross_entropy(
            features,
            rows,
            index,
            m1=self.m1,
            m2=m2,
            m3=m3,
            scale=self.scale,
            easy_margin=self.easy_margin,
            margin_gradient=self.margin_gradient,
            sub_centers=self.sub_centers,
            weight=class_weight,
            reduction=self.reduction,
            ignore_index=IGNORED,
            label_smoothing=self.label_smoothing,
            all_ignored=self.all_ignored,
        )

    def scores(self, features: Tensor) -> Tensor:
        """All scaled cosines without margin, (..., C)."""
        rows = directions(self._checked(features)).reshape(-1, self.in_features)
        cosines, _ = self.projection.scores(rows, self.weight, None)
        return (cosines * self.scale).view(*features.shape[:-1], self.num_classes)

    def predict(self, features: Tensor, k: int = 5) -> Prediction:
        """The k classes with the nearest directions, best first, computed without storing all scores; without gradient.

        ``scores`` are scaled cosines, ``confidence`` is their softmax, without margin.

        >>> head = MarginHead(2, 3, scale=4.0)
        >>> with torch.no_grad():
        ...     _ = head.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]))
        >>> best = head.predict(torch.tensor([3.0, 0.1]), k=2)
        >>> best.classes.tolist(), round(best.scores[0].item(), 3), round(best.confidence[0].item(), 3)
        ([0, 1], 3.998, 0.979)
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k!r}")
        with torch.no_grad():
            scaled = directions(self._checked(features)).reshape(-1, self.in_features) * self.scale
            best = best_classes(self.projection, scaled, self.weight, None, k)
        shape = (*features.shape[:-1], best.scores.shape[1])
        confidence = torch.exp(best.scores - best.lse[:, None])
        return Prediction(best.classes.view(shape), best.scores.view(shape), confidence.view(shape))

    def _checked(self, features: Tensor) -> Tensor:
        if features.dim() == 0 or features.shape[-1] != self.in_features:
            raise ValueError(f"features must have shape (..., {self.in_features}), not {tuple(features.shape)}")
        return features

    def _margins_of(self, features: Tensor, counted: Tensor) -> tuple[Amount, Amount]:
        if self.margins is None:
            return self.m2, self.m3
        m2, m3 = self.margins(features, counted)
        return m2, m3

    @property
    def samples(self) -> bool:
        """Whether a step uses a sample of the classes, in the present mode."""
        return self.training and self.sample_rate < 1

    def generator(self, stream: int = 0) -> torch.Generator | None:
        """The generator for the next step, None for torch's global one; ``stream`` makes processes differ."""
        if self.sample_seed is None or self.sampled_steps is None:
            return None
        step = int(self.sampled_steps)
        self.sampled_steps += 1
        # PyTorch's generator uses the lower 32 bits of a seed: they must differ between seeds and steps.
        return torch.Generator().manual_seed((self.sample_seed * 0x9E3779B1 + stream * 0x85EBCA77 + step) % 2**32)

    def extra_repr(self) -> str:
        """Sizes and margins, and options that are not the defaults."""
        shown: dict[str, Any] = {"m1": self.m1, "m2": self.m2, "m3": self.m3, "scale": self.scale}
        defaults = {"easy_margin": False, "margin_gradient": "exact", "sub_centers": 1, "sample_rate": 1.0}
        shown |= {name: getattr(self, name) for name, default in defaults.items() if getattr(self, name) != default}
        options = ", ".join(f"{name}={value}" for name, value in shown.items())
        return f"in_features={self.in_features}, num_classes={self.num_classes}, {options}"


ClassesOfStep = Callable[[MarginHead, Tensor], tuple[Tensor, Tensor | None, Tensor]]
"""From a head and class numbers to W and class weights for the classes of this step, and targets among them."""


def classes_of_step(head: MarginHead, index: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
    """W, class weights and targets for all classes, or for a sample of them."""
    if not head.samples:
        return head.weight, head.class_weight, index
    flat = index.reshape(-1)
    classes, places = sample_classes(
        flat, head.num_classes, head.sample_size, ignore_index=IGNORED, generator=head.generator()
    )
    class_weight = None if head.class_weight is None else head.class_weight[classes]
    return gather_rows(head.weight, classes, head.sub_centers), class_weight, places.view(index.shape)
