"""Cut a mapped file while a real `crosshead fit`, `predict` or `evaluate` reads it, at random moments.

    python tests/robustness/truncate_mapped.py --runs 50 --megabytes 200

Moments are drawn between the mapping of the file, as Linux's /proc shows it, and the end of a run. Each run must end
with exit code 0 and its output, where it was done by then, or with exit code 2, one line that names the file, and
nothing written. The script goes on until so many were cut in time, and fails where one did something else.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

COMMANDS = ("fit", "predict", "evaluate")
FEATURES, CLASSES, SHARE = 800, 10, 0.7


def main() -> int:
    """Run; returns 1 where a run broke the promise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    generator, found = random.Random(options.seed), Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write(folder, options.megabytes, options.seed)
        seconds = {command: _timed(folder, command) for command in COMMANDS}
        print("whole runs: " + ", ".join(f"{command} {took:.1f} s" for command, took in seconds.items()), flush=True)
        while found["one line"] + found["broken"] < options.runs:
            number = sum(found.values())
            command = COMMANDS[number % len(COMMANDS)]
            outcome = _cut(folder, command, generator.uniform(0, SHARE) * seconds[command], generator)
            print(f"{number:3d} {command:8s} {outcome}", flush=True)
            found[outcome.partition(":")[0]] += 1
    print(", ".join(f"{number} {what}" for what, number in found.items()))
    return int(bool(found["broken"]))


def _write(folder: Path, megabytes: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    rows = (megabytes << 20) // (4 * FEATURES)
    labels = np.arange(rows) % CLASSES
    means = generator.normal(size=(CLASSES, FEATURES)).astype(np.float32)
    features = np.lib.format.open_memmap(folder / "whole.npy", "w+", np.float32, (rows, FEATURES))
    for first in range(0, rows, 1000):
        own = labels[first : first + 1000]
        features[first : first + 1000] = 5 * generator.normal(size=(len(own), FEATURES)) + means[own]
    features.flush()
    np.save(folder / "y.npy", labels)


def _arguments(folder: Path, command: str) -> list[str]:
    source = f"{folder / 'X.npy'},{folder / 'y.npy'}"
    program = [sys.executable, "-m", "crosshead"]
    if command == "fit":
        return [*program, "fit", source, "--output", str(folder / "new"), "--tol", "1e-2"]
    if command == "predict":
        return [*program, "predict", str(folder / "model"), source, "--proba", "--output", str(folder / "new.csv")]
    return [*program, "evaluate", str(folder / "model"), source]


def _started(folder: Path, command: str) -> subprocess.Popen[str]:
    """A run that has just mapped the file."""
    process = subprocess.Popen(_arguments(folder, command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    maps, file = Path(f"/proc/{process.pid}/maps"), str(folder / "X.npy")
    while process.poll() is None and file not in maps.read_text():
        time.sleep(0.002)
    return process


def _timed(folder: Path, command: str) -> float:
    shutil.copyfile(folder / "whole.npy", folder / "X.npy")
    process = _started(folder, command)
    begun = time.monotonic()
    _, errors = process.communicate()
    took = time.monotonic() - begun
    if process.returncode:
        raise SystemExit(errors)
    if command == "fit":
        (folder / "new").rename(folder / "model")
    _clean(folder)
    return took


def _cut(folder: Path, command: str, after: float, generator: random.Random) -> str:
    file = folder / "X.npy"
    shutil.copyfile(folder / "whole.npy", file)
    size = generator.choice((0, int(generator.random() * file.stat().st_size), file.stat().st_size - 100))
    before = set(os.listdir(folder))
    process = _started(folder, command)
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        os.truncate(file, size)
    shown, errors = process.communicate()
    new = set(os.listdir(folder)) - before
    _clean(folder)
    lines = [line for line in errors.splitlines() if not line.startswith("crosshead: note:")]
    what = f"cut to {size} after {after:.2f} s, exit code {process.returncode}, {lines}, new {sorted(new)}"
    if process.returncode == 0 and not lines:
        return f"done before the cut: {what}"
    if process.returncode == 2 and len(lines) == 1 and str(file) in lines[0] and not new and not shown:
        return f"one line: {what}"
    return f"broken: {what}, {shown[:200]}"


def _clean(folder: Path) -> None:
    shutil.rmtree(folder / "new", ignore_errors=True)
    (folder / "new.csv").unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
