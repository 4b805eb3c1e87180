"""`crosshead describe`: a saved model's stages, from its input to its classes."""

from __future__ import annotations

from crosshead.cli import options


def describe(model: options.ModelFolder, as_json: options.AsJson = False) -> int:
    """Show the stages of MODEL: shapes, parameters, and operations (multiplications with an addition) for one row."""
    from crosshead.cli.commands.describe.run import run

    return run(model, as_json)
