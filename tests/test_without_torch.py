"""Without PyTorch everything but crosshead.nn works, and crosshead.nn says what to install."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import crosshead

PROGRAM = """
import sys
class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
sys.meta_path.insert(0, NotInstalled())
import crosshead, crosshead.linear, crosshead.evaluation, crosshead.cli.main
try:
    import crosshead.nn
except ImportError as error:
    print(error)
"""


def test_the_error_names_the_extra(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(crosshead.__file__).parents[1]))
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout == "crosshead.nn needs PyTorch, which is not installed: pip install 'crosshead[torch]'\n"


def test_nothing_but_nn_asks_for_torch():
    package = Path(crosshead.__file__).parent
    others = [path for path in package.rglob("*.py") if package / "nn" not in path.parents]
    assert not [path for path in others if "\nimport torch" in path.read_text() or "\nfrom torch" in path.read_text()]
