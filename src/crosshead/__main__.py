"""``python -m crosshead`` is the same as ``crosshead``."""

from crosshead.cli.start import run

run()
