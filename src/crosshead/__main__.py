"""``python -m crosshead`` is the same as ``crosshead``."""

from crosshead.cli.main import run

run()
