"""Programs that are asked to end: by Ctrl-C or by SIGTERM, at any time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import crosshead as package
from crosshead.models import Model

# Tests that run in the background inherit an ignored Ctrl-C.
BEGIN = "import os, signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
FIT = ("fit", "digits", "--scale", "maxabs", "--output", "m")
WHILE_IMPORTING = """
class Trap:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            os.kill(os.getpid(), number)
sys.meta_path.insert(0, Trap())
"""
WHILE_READING = """
from crosshead.cli.commands.fit import run as fitting
fitting.load = lambda *_, **__: os.kill(os.getpid(), number)
"""
IN_A_FIT = """
from crosshead.cli.progress import Monitor
Monitor.__call__ = lambda self, progress: progress.iteration == 3 and os.kill(os.getpid(), number)
"""
IN_THE_REPORT = """
from crosshead.cli.commands.fit import run as fitting
fitting._write_report = lambda *_: os.kill(os.getpid(), number)
"""


def ended(folder: Path, trap: str, number: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command line in a process of its own that sends itself a signal."""
    program = BEGIN + f"number = {int(number)}\n{trap}\nfrom crosshead.cli.start import run\nrun()"
    environment = {**os.environ, "PYTHONPATH": str(Path(package.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


both = pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 1), (signal.SIGTERM, 143)])


@both
def test_before_there_is_a_command_nothing_is_said(tmp_path: Path, number: int, code: int) -> None:
    done = ended(tmp_path, WHILE_IMPORTING, number, *FIT)
    assert (done.returncode, done.stdout, done.stderr) == (-number, "", "")  # a shell makes 128 + number of it


@both
def test_before_there_are_weights_nothing_is_saved(tmp_path: Path, number: int, code: int) -> None:
    done = ended(tmp_path, WHILE_READING, number, *FIT)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr == "crosshead: error: interrupted; nothing was saved\n"
    assert not (tmp_path / "m").exists()


@both
def test_a_fit_keeps_the_best_weights_so_far(tmp_path: Path, number: int, code: int) -> None:
    done = ended(tmp_path, IN_A_FIT, number, *FIT)
    assert done.returncode == code
    assert done.stderr == "crosshead: warning: interrupted; the best weights so far are saved in m, not certified\n"
    assert Model.load(tmp_path / "m").training["status"] == "interrupted"


def test_a_model_that_is_saved_is_not_said_to_be_lost(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    done = ended(tmp_path, IN_THE_REPORT, signal.SIGINT, *FIT, "--report")
    assert done.returncode == 1
    assert done.stderr == "crosshead: error: interrupted; the model is saved in m, but not m-report.html\n"
    assert Model.load(tmp_path / "m").training["status"] == "converged"


def test_a_signal_that_was_ignored_stays_ignored(tmp_path: Path) -> None:
    """As under nohup, or in the background of a shell's script."""
    ignored = "signal.signal(number, signal.SIG_IGN)\n"
    for number in (signal.SIGINT, signal.SIGTERM):
        done = ended(tmp_path, ignored + IN_A_FIT, number, *FIT)
        assert (done.returncode, done.stderr) == (0, "")
