"""What `crosshead describe` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from crosshead.cli.embedding import backbone_title
from crosshead.cli.errors import DONE
from crosshead.cli.output import show_json, show_table
from crosshead.data.formats.feature_files import BACKBONE
from crosshead.models import Model


@dataclass(frozen=True)
class Line:
    """A stage: its output's shape without the number of rows; None is unknown, as inside a network of others."""

    name: str
    output: tuple[int, ...]
    parameters: int | None
    operations: int | None


def run(folder: str, as_json: bool) -> int:
    """Read and show; returns the exit code."""
    model = Model.load(folder)
    lines = stages_of(model)
    if as_json:
        totals = {
            "parameters": _sum([one.parameters for one in lines]),
            "operations": _sum([one.operations for one in lines]),
        }
        show_json({"model": folder, "classes": model.classes, "stages": [asdict(one) for one in lines], **totals})
        return DONE
    rows = [[one.name, shape(one.output), _count(one.parameters), _count(one.operations)] for one in lines]
    totals_row = [
        "all",
        flow(lines),
        _count(_sum([one.parameters for one in lines])),
        _count(_sum([one.operations for one in lines])),
    ]
    show_table(["stage", "output", "parameters", "operations"], [*rows, totals_row])
    return DONE


def stages_of(model: Model) -> list[Line]:
    """The stages of a model: of its network where crosshead trained it, then scaling and the last layer."""
    n_classes, n_features = model.weight.shape
    lines = _inputs(model)
    if model.scaling.kind != "none":
        lines.append(Line(f"scaling, {model.scaling.kind}", (n_features,), 0, n_features))
    size = n_classes * n_features
    return [*lines, Line(f"last layer, {model.loss}", (n_classes,), size + n_classes, size)]


def _inputs(model: Model) -> list[Line]:
    known = model.encoding.get(BACKBONE)
    n_features = int(model.weight.shape[1])
    if model.network:
        from crosshead.backbones.cnn_backbone import network_of

        stages = network_of(model.network, "the model's network").stages()[:-1]
        return [Line(one.name, one.output, one.parameters, one.operations) for one in stages]
    if known is not None:
        from crosshead.backbones.preprocessing import preprocessing_of

        form = preprocessing_of(known["preprocessing"], "the model's backbone").form
        return [
            Line("pixels", (form.channels, *form.size), 0, 0),
            Line(f"backbone {backbone_title(known)}", (n_features,), None, None),
        ]
    pixels = model.encoding.get("shape")
    if pixels is None:
        return [Line("features", (n_features,), 0, 0)]
    return [Line("pixels", tuple(map(int, pixels)), 0, 0), Line("flatten", (n_features,), 0, 0)]


def shape(output: Sequence[int]) -> str:
    """A shape as a person writes it.

    Examples
    --------
    >>> shape((1, 28, 28)), shape((10,))
    ('1×28×28', '10')
    """
    return "×".join(map(str, output))


def flow(lines: Sequence[Line]) -> str:
    """The first shape, the features and the classes.

    Examples
    --------
    >>> flow([Line("pixels", (1, 8, 8), 0, 0), Line("pooling", (32,), 0, 0), Line("last layer", (10,), 330, 320)])
    '1×8×8 → 32 → 10'
    """
    return " → ".join(shape(one.output) for one in [lines[0], *lines[-2:]])


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _count(count: int | None) -> str:
    return "unknown" if count is None else str(count)
