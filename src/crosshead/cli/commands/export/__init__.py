"""`crosshead export`: a saved model as an ONNX file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from crosshead.cli import options
from crosshead.cli.command import command
from crosshead.cli.errors import UsageError
from crosshead.cli.options import images as image_options

DTYPES = ("float32", "float64")


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """The options of one `crosshead export`, checked."""

    model: options.ModelFolder
    output: Annotated[str, typer.Argument(metavar="FILE.onnx", help="The file to write.", show_default=False)]
    backbone: image_options.OwnBackbone = None
    head_only: Annotated[
        bool, typer.Option("--head-only", help="Leave the backbone out: the graph takes its features.")
    ] = False
    check: Annotated[str | None, options.option("SOURCE", "Also check on rows or images of SOURCE, 256 at most.")] = (
        None
    )
    dtype: Annotated[
        str,
        typer.Option(metavar="|".join(DTYPES), help="Numbers of a graph without a backbone."),
        options.one_of(DTYPES),
    ] = "float32"
    opset: Annotated[
        int | None,
        typer.Option(min=13, metavar="N", help="The ONNX operator set. [default: the backbone's, else 17]"),
    ] = None
    seed: options.Seed = 0
    as_json: options.AsJson = False

    def __post_init__(self) -> None:
        if self.head_only and self.backbone is not None:
            raise UsageError("--backbone and --head-only contradict each other")


@command
def export(chosen: ExportOptions) -> int:
    """Write MODEL as one ONNX graph: its backbone if it has one, scaling, linear layer, temperature, probabilities.

    The input's first dimension is free. Outputs are scores, probabilities (where the model has them) and predicted,
    the index of the class; the classes' names are in the file's metadata, as JSON. Before the file appears it is run
    by onnxruntime on random inputs, and its predictions are compared with crosshead's own.
    """
    from crosshead.cli.commands.export.run import run

    return run(chosen)
