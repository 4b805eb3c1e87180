"""The stages of a saved model, from its input to its classes: shapes, parameters and operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from crosshead.data.formats.feature_files import BACKBONE
from crosshead.data.images.decoding import COLOURS
from crosshead.models.json_document import ModelError
from crosshead.models.model import Model


@dataclass(frozen=True)
class Stage:
    """One stage of a model; None is unknown, as inside another program's network.

    * ``name``; ``output``: the shape of its output without the number of rows
    * ``parameters``: trained numbers; ``operations``: multiplications with an addition, for one row
    """

    name: str
    output: tuple[int, ...]
    parameters: int | None
    operations: int | None


@dataclass(frozen=True, eq=False)
class Summary:
    """The ``stages`` of a model in order, and its ``classes``."""

    stages: tuple[Stage, ...]
    classes: Sequence[Any]

    @property
    def parameters(self) -> int | None:
        """All trained numbers; None where those of a stage are unknown."""
        return _sum([stage.parameters for stage in self.stages])

    @property
    def operations(self) -> int | None:
        """All multiplications with an addition, for one row; None where those of a stage are unknown."""
        return _sum([stage.operations for stage in self.stages])

    @property
    def flow(self) -> str:
        """The shapes of the input, the features and the classes in one line."""
        shown = [self.stages[0], *self.stages[-2:]]
        return " → ".join(shape_text(stage.output) for stage in shown)

    def to_dict(self) -> dict[str, Any]:
        """A JSON document."""
        totals = {"parameters": self.parameters, "operations": self.operations}
        return {"classes": self.classes, "stages": [asdict(stage) for stage in self.stages], **totals}


def describe(model: Model) -> Summary:
    """The stages of a model: of its network where crosshead trained it, then scaling and the last layer.

    The last layer has C·D weights and C biases, and takes C·D operations a row. Raises ModelError where what the model
    says of its network cannot be read.

    Examples
    --------
    >>> import numpy as np
    >>> found = describe(Model(np.zeros((3, 4)), np.zeros(3), np.arange(3), "softmax"))
    >>> found.flow, found.parameters, [stage.name for stage in found.stages]
    ('4 → 4 → 3', 15, ['features', 'last layer, softmax'])
    """
    n_classes, n_features = map(int, model.weight.shape)
    stages = _inputs(model)
    if model.scaling.kind != "none":
        stages.append(Stage(f"scaling, {model.scaling.kind}", (n_features,), 0, n_features))
    size = n_classes * n_features
    stages.append(Stage(f"last layer, {model.loss}", (n_classes,), size + n_classes, size))
    return Summary(tuple(stages), model.classes.tolist())


def backbone_title(description: Mapping[str, Any]) -> str:
    """What a backbone is called in a line of text.

    Examples
    --------
    >>> backbone_title({"name": "small.onnx", "output": "pool"})
    'small.onnx, output pool'
    """
    if description.get("network") is not None:
        return f"cnn, stages of {', '.join(map(str, description['network']['widths']))} channels"
    name, output = description["name"], description.get("output")
    return str(name) if output is None else f"{name}, output {output}"


def shape_text(shape: Sequence[int]) -> str:
    """A shape as a person writes it.

    Examples
    --------
    >>> shape_text((1, 28, 28)), shape_text((10,))
    ('1×28×28', '10')
    """
    return "×".join(map(str, shape))


def _inputs(model: Model) -> list[Stage]:
    known = model.encoding.get(BACKBONE)
    n_features = int(model.weight.shape[1])
    if model.network:
        return _network_stages(model.network)
    if known is not None:
        return [
            Stage("pixels", _backbone_input(known["preprocessing"]), 0, 0),
            Stage(f"backbone {backbone_title(known)}", (n_features,), None, None),
        ]
    pixels = model.encoding.get("shape")
    if pixels is None:
        return [Stage("features", (n_features,), 0, 0)]
    return [Stage("pixels", tuple(map(int, pixels)), 0, 0), Stage("flatten", (n_features,), 0, 0)]


def _network_stages(network: bytes) -> list[Stage]:
    """The stages of a network that crosshead trained, without its head."""
    from crosshead.nn.training.network import CNN  # loads PyTorch

    try:
        stages = CNN.from_bytes(network).stages()
    except ValueError as error:
        raise ModelError(f"the model's network: {error}") from error
    return [Stage(one.name, one.output, one.parameters, one.operations) for one in stages[:-1]]


def _backbone_input(preprocessing: Mapping[str, Any]) -> tuple[int, int, int]:
    """Channels, height and width of the images that a backbone takes."""
    try:
        size = preprocessing["size"]
        height, width = (size, size) if isinstance(size, int) else size
        return COLOURS[preprocessing.get("colours", "rgb")], int(height), int(width)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ModelError(f"the model's backbone: the pre-processing cannot be read ({error})") from error


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None
