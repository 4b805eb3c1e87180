"""`crosshead describe`: a saved model's stages, from its input to its classes."""

from __future__ import annotations

from dataclasses import dataclass

from crosshead.cli import options
from crosshead.cli.command import command


@dataclass(frozen=True, kw_only=True)
class DescribeOptions:
    """The options of one `crosshead describe`."""

    model: options.ModelFolder
    as_json: options.AsJson = False


@command
def describe(chosen: DescribeOptions) -> int:
    """Show the stages of MODEL: shapes, parameters, and operations (multiplications with an addition) for one row."""
    from crosshead.cli.commands.describe.run import run

    return run(chosen)
