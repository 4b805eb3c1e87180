"""``python -m crosshead`` is the same as ``crosshead``."""

import os
import sys

if not sys.flags.safe_path and sys.path[:1] in ([""], [os.getcwd()]):
    del sys.path[0]  # where Python put the working folder, whose files are data and not ours to import

from crosshead.cli.start import run  # after the line above

run()
