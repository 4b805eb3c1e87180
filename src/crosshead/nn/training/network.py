"""A small convolutional network whose last layer is a crosshead head."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor, log2, prod
from typing import Any, final

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from crosshead.data.formats.json_text import parse_json
from crosshead.nn.fused.prediction import Prediction
from crosshead.nn.heads.classification import ClassificationHead
from crosshead.nn.heads.losses import HEAD_LOSSES
from crosshead.nn.heads.margin import MarginHead
from crosshead.nn.losses.margin import directions

MARGIN = "margin"
POOLINGS = ("average", "max", "flatten")
NARROWEST, WIDEST = 16, 128
LAST_SIDE = 2.5
"""The default number of stages leaves the shorter side of the last map between this and twice this."""

MOST_VALUES = NARROWEST << 22
"""The most values that one image may have after a convolution. A file of a few bytes can state channels and sides whose
product fills any memory; this many are enough for the default widths on the largest allowed image."""

LARGEST_TO_UNIT = 0.25
METADATA = "crosshead"
SETTINGS = frozenset({"input_shape", "num_classes", "loss", "widths", "convolutions", "dropout", "pooling", "head"})


@dataclass(frozen=True)
class Stage:
    """One layer of a network, a line of the table that `CNN.stages` gives.

    * ``name``: the layer; ``output``: the shape of its output for one image
    * ``parameters``: how many numbers are trained; ``operations``: multiply–add operations for one image

    Examples
    --------
    >>> CNN((1, 8, 8), 2).stages()[-1]
    Stage(name='head, softmax', output=(2,), parameters=66, operations=64)
    """

    name: str
    output: tuple[int, ...]
    parameters: int
    operations: int


def default_widths(height: int, width: int) -> tuple[int, ...]:
    """The default channels of the stages for images of this size: 16, doubled from stage to stage, up to 128.

    Examples
    --------
    >>> default_widths(8, 8), default_widths(28, 28), default_widths(112, 92)
    ((16, 32), (16, 32, 64), (16, 32, 64, 128, 128))
    """
    count = max(2, floor(log2(max(1.0, min(height, width) / LAST_SIDE))))
    return tuple(min(NARROWEST << stage, WIDEST) for stage in range(count))


@final
class CNN(nn.Module):
    """Pixels → stages of convolution, batch norm, ReLU, max-pooling → pooling → dropout → head.

    ``network(images, target)`` is the loss of images (N, channels, height, width), pixels 0…255 of any dtype, and
    class numbers (N,). A stage is ``convolutions`` times (3×3 convolution, batch norm, ReLU), then 2×2 max-pooling if
    both sides are at least 4. Pixels are first standardised by channel, with the mean and standard deviation that
    `learn_pixels` measured on the training images. The scores of a new network are nearly equal: the first loss is
    about ln C for "softmax".

    Parameters
    ----------
    input_shape : (channels, height, width)
        1 to 4 channels, any sides.
    num_classes : int
    loss : str
        A loss of `ClassificationHead`, or "margin" for a `MarginHead`.
    widths : sequence of int, optional
        Channels of each stage; by default those of `default_widths`.
    convolutions : int
        In each stage.
    dropout : float
        Share of the head's features that is set to zero in training.
    pooling : {"average", "max", "flatten"}
        How the last maps become features: one number a map, or all of their positions.
    **head
        Options of the head.

    Raises
    ------
    ValueError
        A shape, width, loss, pooling or option that does not exist; images of another shape.

    Sources: Simonyan and Zisserman, ICLR 2015; Ioffe and Szegedy, ICML 2015; He et al. (initialisation), ICCV 2015.

    Examples
    --------
    >>> network = CNN((1, 28, 28), 10)
    >>> for stage in network.stages()[:2]:
    ...     print(stage)
    Stage(name='pixels', output=(1, 28, 28), parameters=0, operations=0)
    Stage(name='convolution 1.1', output=(16, 28, 28), parameters=176, operations=112896)
    >>> network(torch.zeros(5, 1, 28, 28), torch.arange(5)).shape
    torch.Size([])
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        input_shape: Sequence[int],
        num_classes: int,
        loss: str = "softmax",
        *,
        widths: Sequence[int] | None = None,
        convolutions: int = 1,
        dropout: float = 0.1,
        pooling: str = "average",
        **head: Any,
    ) -> None:
        super().__init__()
        if len(input_shape) != 3 or min(input_shape) < 1 or input_shape[0] > 4:
            raise ValueError(
                f"input_shape is (channels, height, width) with 1 to 4 channels, not {tuple(input_shape)!r}"
            )
        if pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {', '.join(POOLINGS)}, not {pooling!r}")
        if loss != MARGIN and loss not in HEAD_LOSSES:
            raise ValueError(f"unknown loss {loss!r}; choose one of {', '.join(HEAD_LOSSES)} or {MARGIN}")
        self.input_shape = (int(input_shape[0]), int(input_shape[1]), int(input_shape[2]))
        self.widths = tuple(widths) if widths is not None else default_widths(*self.input_shape[1:])
        if not self.widths or min(self.widths) < 1 or convolutions < 1:
            raise ValueError(f"widths and convolutions must be at least 1, not {self.widths} and {convolutions}")
        self.loss, self.convolutions, self.dropout, self.pooling = loss, convolutions, dropout, pooling
        self.body, shape = _body(self.input_shape, self.widths, convolutions)
        self.pool, n_features = _last_pooling(pooling, shape)
        self.drop = nn.Dropout(dropout)
        make = MarginHead if loss == MARGIN else ClassificationHead
        self.head: MarginHead | ClassificationHead = (
            MarginHead(n_features, num_classes, **head)
            if make is MarginHead
            else ClassificationHead(n_features, num_classes, loss, **head)
        )
        if pooling == "max":  # a maximum has more than the unit variance that the start expects
            self.head.weight.data.mul_(LARGEST_TO_UNIT)
        self._head_options = head
        self.register_buffer("pixel_mean", torch.full((self.input_shape[0], 1, 1), 127.5))
        self.register_buffer("pixel_std", torch.full((self.input_shape[0], 1, 1), 73.9))

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments that make this network again, as JSON types; ValueError if a head's option is a tensor."""
        tensors = [name for name, value in self._head_options.items() if isinstance(value, Tensor)]
        if tensors:
            raise ValueError(f"the head's option {tensors[0]!r} is a tensor, which settings do not hold")
        return {
            "input_shape": list(self.input_shape),
            "num_classes": self.head.num_classes,
            "loss": self.loss,
            "widths": list(self.widths),
            "convolutions": self.convolutions,
            "dropout": self.dropout,
            "pooling": self.pooling,
            "head": dict(self._head_options),
        }

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> CNN:
        """A network with these `settings` and new weights.

        >>> CNN.from_settings(CNN((3, 9, 7), 4, "hinge", widths=(5,)).settings).head.in_features
        5
        """
        others = {name: value for name, value in settings.items() if name != "head"}
        return cls(**others, **settings["head"])

    def learn_pixels(self, images: Tensor, rows: Tensor | None = None, block: int = 1024) -> None:
        """Measure mean and deviation by channel, in float64, on images (N, …) or some ``rows``."""
        self._check(images)
        rows = torch.arange(len(images)) if rows is None else rows
        count = len(rows) * images.shape[2] * images.shape[3]
        total, squares = torch.zeros(2, images.shape[1], dtype=torch.float64)
        for first in range(0, len(rows), block):
            part = images[rows[first : first + block]].double()
            total, squares = total + part.sum((0, 2, 3)), squares + part.square().sum((0, 2, 3))
        mean = total / count
        std = (squares / count - mean.square()).clamp_min(0.0).sqrt()
        # A constant channel has deviation 0; dividing by 1 makes it 0.
        std = torch.where(std > 1e-6, std, torch.ones_like(std))
        self.pixel_mean.copy_(mean[:, None, None])
        self.pixel_std.copy_(std[:, None, None])

    def features(self, images: Tensor) -> Tensor:
        """The input of the head, (N, D); with dropout in training mode."""
        self._check(images)
        values = (images.to(self.pixel_mean.dtype) - self.pixel_mean) / self.pixel_std
        pooled: Tensor = self.drop(self.pool(self.body(values.contiguous(memory_format=torch.channels_last))))
        return pooled

    def embedding(self, images: Tensor) -> Tensor:
        """Features (N, D) to fit a linear last layer on; of length 1 if the head is a `MarginHead`."""
        found = self.features(images)
        return directions(found) if isinstance(self.head, MarginHead) else found

    def forward(self, images: Tensor, target: Tensor) -> Tensor:
        """The head's loss, reduced as the head says."""
        value: Tensor = self.head(self.features(images), target)
        return value

    def scores(self, images: Tensor) -> Tensor:
        """The head's scores (N, C)."""
        return self.head.scores(self.features(images))

    def predict(self, images: Tensor, k: int = 5) -> Prediction:
        """The k best classes, best first; without gradient."""
        with torch.no_grad():
            return self.head.predict(self.features(images), k)

    def stages(self) -> list[Stage]:
        """Every layer with its shape, parameters and operations."""
        found, shape = [Stage("pixels", self.input_shape, 0, 0)], self.input_shape
        for name, layer in self.body.named_children():
            stage = _stage(_title(name), layer, shape)
            found.append(stage)
            shape = (stage.output[0], stage.output[1], stage.output[2])
        n_features, n_weights = self.head.in_features, self.head.weight.numel()
        found.append(Stage(f"{self.pooling} pooling" if self.pooling != "flatten" else "flatten", (n_features,), 0, 0))
        parameters = sum(one.numel() for one in self.head.parameters())
        found.append(Stage(f"head, {self.loss}", (self.head.num_classes,), parameters, n_weights))
        return found

    def to_bytes(self) -> bytes:
        """Weights and settings as the bytes of a safetensors file."""
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        return bytes(save(tensors, {METADATA: json.dumps(self.settings, sort_keys=True)}))

    @classmethod
    def from_bytes(cls, content: bytes) -> CNN:
        """The network that `to_bytes` wrote, in evaluation mode; ValueError if the bytes are something else.

        The settings are compared with the tensors first, so that no file makes it allocate more than its own size.
        """
        try:
            tensors = load(content)
            header = parse_json(content[8 : 8 + int.from_bytes(content[:8], "little")])
            settings = parse_json(header["__metadata__"][METADATA])
            _check_settings(settings, tensors)
            network = cls.from_settings(settings)
            network.load_state_dict(tensors)
        except (SafetensorError, KeyError, TypeError, ValueError, AttributeError, OverflowError, RuntimeError) as error:
            raise ValueError(f"not a network that crosshead wrote ({error})") from error
        return network.eval()

    def _check(self, images: Tensor) -> None:
        if images.dim() != 4 or tuple(images.shape[1:]) != self.input_shape:
            raise ValueError(
                f"images must have shape (N, {', '.join(map(str, self.input_shape))}), not {tuple(images.shape)}"
            )


def _check_settings(settings: Any, tensors: Mapping[str, Tensor]) -> None:
    """ValueError if the settings are not those of a network with these tensors; allocates nothing."""
    if not isinstance(settings, dict) or set(settings) != SETTINGS or not isinstance(settings["head"], dict):
        raise ValueError(f"settings are {', '.join(sorted(SETTINGS))}")
    widths, convolutions = settings["widths"], settings["convolutions"]
    for numbers in (settings["input_shape"], widths, [convolutions, settings["num_classes"]]):
        if not isinstance(numbers, list) or not all(type(one) is int and 0 < one < 1 << 31 for one in numbers):
            raise ValueError("sizes are whole numbers above 0")
    # Layers are counted before any is made: making a billion of them would never end.
    if len(widths) * convolutions != sum(name.startswith("body.") and name.endswith(".0.weight") for name in tensors):
        raise ValueError("the number of convolutions is not that of the tensors")
    if not settings["head"].keys().isdisjoint(("device", "dtype")):
        raise ValueError("a head's device and dtype are no settings")
    with torch.device("meta"):
        expected = CNN.from_settings(settings).state_dict()
    for name in sorted({*expected, *tensors}):
        if name not in expected or name not in tensors:
            raise ValueError(f"tensor {name} is {'missing' if name in expected else 'unknown'}")
        one, other = expected[name], tensors[name]
        if one.shape != other.shape or one.dtype != other.dtype:
            raise ValueError(f"{name} is {other.dtype} {tuple(other.shape)}, expected {one.dtype} {tuple(one.shape)}")


def _body(input_shape: tuple[int, int, int], widths: Sequence[int], convolutions: int) -> tuple[nn.Sequential, Any]:
    """The stages, and the shape (channels, height, width) of their output."""
    layers = nn.Sequential()
    channels, height, width = input_shape
    for stage, size in enumerate(widths, start=1):
        for number in range(1, convolutions + 1):
            convolution = nn.Conv2d(channels, size, 3, padding=1, bias=False)
            # Convolutions on a CPU are fastest with channels last.
            convolution.weight.data = convolution.weight.data.contiguous(memory_format=torch.channels_last)
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
            block = nn.Sequential(convolution, nn.BatchNorm2d(size), nn.ReLU())
            layers.add_module(f"convolution_{stage}_{number}", block)
            channels = size
        if size * height * width > MOST_VALUES:
            raise ValueError(
                f"stage {stage} would make {size} maps of {height}×{width} of each image, more than {MOST_VALUES} "
                "numbers; take smaller images or fewer channels"
            )
        if min(height, width) >= 4:
            layers.add_module(f"pooling_{stage}", nn.MaxPool2d(2))
            height, width = height // 2, width // 2
    return layers, (channels, height, width)


def _last_pooling(pooling: str, shape: tuple[int, int, int]) -> tuple[nn.Module, int]:
    if pooling == "flatten":
        return nn.Flatten(), prod(shape)
    pool = nn.AdaptiveAvgPool2d(1) if pooling == "average" else nn.AdaptiveMaxPool2d(1)
    return nn.Sequential(pool, nn.Flatten()), shape[0]


def _stage(name: str, layer: nn.Module, shape: tuple[int, int, int]) -> Stage:
    parameters = sum(one.numel() for one in layer.parameters())
    channels, height, width = shape
    if isinstance(layer, nn.MaxPool2d):
        return Stage(name, (channels, height // 2, width // 2), 0, 0)
    convolution = next(one for one in layer.modules() if isinstance(one, nn.Conv2d))
    out = (convolution.out_channels, height, width)
    return Stage(name, out, parameters, height * width * convolution.weight.numel())


def _title(name: str) -> str:
    kind, *numbers = name.split("_")
    return f"{kind} {'.'.join(numbers)}"
