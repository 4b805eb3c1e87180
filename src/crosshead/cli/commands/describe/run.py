"""What `crosshead describe` does once its options are read."""

from __future__ import annotations

from crosshead.cli.commands.describe import DescribeOptions
from crosshead.cli.errors import DONE
from crosshead.cli.output import show_json, show_table
from crosshead.models import Model, Stage, describe
from crosshead.models.summary import shape_text


def run(options: DescribeOptions) -> int:
    """Read and show; returns the exit code."""
    found = describe(Model.load(options.model))
    if options.as_json:
        show_json({"model": options.model, **found.to_dict()})
        return DONE
    totals = ["all", found.flow, _count(found.parameters), _count(found.operations)]
    show_table(["stage", "output", "parameters", "operations"], [*map(_cells, found.stages), totals])
    return DONE


def _cells(stage: Stage) -> list[str]:
    return [stage.name, shape_text(stage.output), _count(stage.parameters), _count(stage.operations)]


def _count(count: int | None) -> str:
    return "unknown" if count is None else str(count)
