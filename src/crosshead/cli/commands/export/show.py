"""What `crosshead export` says when it is done."""

from __future__ import annotations

from typing import Any

from crosshead.cli.commands.export import ExportOptions
from crosshead.cli.output import show_json, show_pairs
from crosshead.export import Check
from crosshead.export.graph import Exported
from crosshead.models import Model


def in_words(check: Check) -> str:
    """How far a graph's predictions lie from the model's own."""
    probabilities = "" if check.probabilities is None else f"probabilities by {check.probabilities:.1e}, "
    if not check.different:
        same = "same classes"
    else:
        same = f"{check.different} other classes" + (f", {check.ties} of them ties" if check.ties else "")
    return f"{check.n_inputs}: {probabilities}scores by {check.scores:.1e} of the largest, {same}"


def show(options: ExportOptions, model: Model, exported: Exported, random: Check, real: Check | None) -> None:
    """Print on stdout what was written, and how far its predictions lie from the model's own."""
    graph = exported.proto.graph
    opset = next(one.version for one in exported.proto.opset_import if one.domain in ("", "ai.onnx"))
    shapes = {one.name: _shape(one) for one in (*graph.input, *graph.output)}
    outputs = [one.name for one in graph.output]
    if options.as_json:
        show_json(
            {
                "model": options.model,
                "output": options.output,
                "input": {exported.input: shapes[exported.input]},
                "outputs": {name: shapes[name] for name in outputs},
                "classes": model.classes,
                "opset": opset,
                "random": vars(random),
                "real": None if real is None else vars(real),
            }
        )
        return
    show_pairs(
        [
            ("input", f"{exported.input} {_times(shapes[exported.input])}"),
            ("outputs", ", ".join(f"{name} {_times(shapes[name])}" for name in outputs)),
            ("opset", str(opset)),
            ("random inputs differ", in_words(random)),
            *([] if real is None else [("real inputs differ", in_words(real))]),
            ("written to", options.output),
        ]
    )


def _shape(info: Any) -> list[int | str]:
    return [one.dim_value or one.dim_param or "?" for one in info.type.tensor_type.shape.dim]


def _times(shape: list[int | str]) -> str:
    return "×".join(map(str, shape))
