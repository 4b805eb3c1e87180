"""What fuzzing found once stays mended, and a small sample of new cases passes; `make fuzz` runs many more."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory and time are measured as Linux has them")


def fuzz(*arguments: str) -> str:
    """What `python -m fuzz` printed; fails with it where a case fails."""
    command = [sys.executable, "-m", "fuzz", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_past_failures_and_a_small_sample_of_new_cases():
    out = fuzz(
        "--corpus", "--seed", "14", "--cases", "200", "--jobs", "1", "--seconds", "900", "--limit", "60", "--no-shrink"
    )
    assert " 0 of them fail again" in out
    assert " 0 different failures" in out


MISBEHAVING = """
import ctypes, importlib, json, os, signal, sys, time, warnings
from pathlib import Path
import numpy as np
from fuzz import targets, workers
from fuzz.cases import Case

def named(function): targets.TARGETS[function.__name__] = lambda seed, options: function()

@named
def fine(): pass
@named
def refused(): from crosshead.data import DataError; raise DataError("one line")
@named
def two_lines(): from crosshead.data import DataError; raise DataError("two" + chr(10) + "lines")
@named
def exception(): {}["a"]
@named
def crash(): os.kill(os.getpid(), signal.SIGSEGV)
@named
def busy():
    while True: pass
@named
def waiting(): time.sleep(100)
@named
def memory(): bytes(b"a") * 400_000_000
@named
def too_much(): np.ones(10_000_000_000)
@named
def warning(): warnings.warn("said", RuntimeWarning)
@named
def native(): os.write(2, b"a library speaks")
@named
def module(): sys.path.insert(0, ""); importlib.import_module("fuzz_canary")
@named
def program(): os.system("true")
@named
def above(): Path("../secret.csv").read_text()
@named
def stray(): Path("../stray").write_text("a")
@named
def litter(): Path("left").write_text("a"); refuse()
def refuse(): from crosshead.data import DataError; raise DataError("no")

workers.SECONDS = 4.0
chosen = [Case("npz", name) for name in targets.TARGETS if name not in sys.argv[1:]]
found = workers.run_all(lambda number: chosen[number], range(len(chosen)), 1, time.monotonic() + 600)
print(json.dumps({chosen[number].target: verdict.outcome for number, verdict in found}))
"""


def test_the_harness_sees_what_it_is_for():
    usual = ["load", "images", "predictions", "model", "network", "command"]
    command = [sys.executable, "-c", MISBEHAVING, *usual]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {
        "fine": "accepted",
        "refused": "refused",
        "two_lines": "refused",  # DataError makes one line of it
        "exception": "exception KeyError",
        "crash": "crash SIGSEGV",
        "busy": "hang",
        "waiting": "hang",
        "memory": "memory",
        "too_much": "exception MemoryError",
        "warning": "warning RuntimeWarning",
        "native": "native message",
        "module": "code",
        "program": "code",
        "above": "outside",
        "stray": "outside",
        "litter": "litter",
    }


NAMES = """
import hashlib
from fuzz import cases
for kind in ("npz-test", "csv-gz", "model-table", "predictions-parquet"):
    case = cases.draw(kind, 1, 5)
    files = sorted(case.changed().items())
    print(case.target, len(files), hashlib.sha256(repr(files).encode()).hexdigest())
"""


def test_a_name_stands_for_the_same_bytes_always():
    command = [sys.executable, "-c", NAMES]
    runs = [subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert runs[0] == runs[1]
    assert len(runs[0].splitlines()) == 4
