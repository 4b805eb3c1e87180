"""Seconds and peak memory of a whole evaluation of memory-mapped probabilities; Markdown on stdout.

python benchmarks/evaluation.py [--rows 10000000] [--classes 10] [--dtype float32] [--resamples 1000] [--folder DIR]

The file of probabilities is made in a temporary folder and removed again. What is measured runs in a process of its
own: one reading of the file for every measure, with bootstrap intervals; and once more without them.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

BLOCK = 1 << 16


def make(folder: Path, rows: int, classes: int, dtype: str, seed: int = 0) -> int:
    """Write P.npy and y.npy, block by block; how many bytes the probabilities have."""
    generator = np.random.default_rng(seed)
    p = np.lib.format.open_memmap(folder / "P.npy", mode="w+", dtype=dtype, shape=(rows, classes))
    y = np.lib.format.open_memmap(folder / "y.npy", mode="w+", dtype=np.int64, shape=(rows,))
    for first in range(0, rows, BLOCK):
        scores = 2 * generator.standard_normal((min(BLOCK, rows - first), classes))
        power = np.exp(scores - scores.max(axis=1, keepdims=True))
        power /= power.sum(axis=1, keepdims=True)
        drawn = (power.cumsum(axis=1) < generator.random(len(power))[:, None]).sum(axis=1)
        p[first : first + len(power)] = power
        y[first : first + len(power)] = np.minimum(drawn, classes - 1)
    p.flush()
    y.flush()
    return int(p.nbytes)


def measure(folder: Path, resamples: int) -> dict[str, Any]:
    """Evaluate the files of a folder; ``resamples`` 0 leaves the intervals out."""
    from crosshead.evaluation import evaluate

    # Imports are not what is measured: the first evaluation makes them.
    evaluate([[0.5, 0.5]], [0], level=0.95, resamples=20)
    before = peak_mib()
    p, y = np.load(folder / "P.npy", mmap_mode="r"), np.load(folder / "y.npy", mmap_mode="r")
    options: dict[str, Any] = {"level": 0.95, "resamples": resamples} if resamples else {}
    began = time.perf_counter()
    found = evaluate(p, y, **options)
    document = found.to_dict()
    seconds = time.perf_counter() - began
    return {
        "seconds": seconds,
        "before_mib": before,
        "peak_mib": peak_mib(),
        "mapped_mib": mapped_mib(),
        "error": document["error"],
        "cross_entropy": document["cross_entropy_nats"],
        "ece": document["ece"],
    }


def peak_mib() -> float:
    """The most memory the process has had resident, in MiB, pages of mapped files among it."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def mapped_mib() -> float:
    """How much of what is resident now are pages of files, which the system takes back when it needs them; MiB."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return float("nan")
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("RssFile")), float("nan"))


def main() -> None:
    """Make the files, measure in processes of their own, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--folder", help="where the temporary folder is made")
    parser.add_argument("--measure", metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(Path(options.measure), options.resamples)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        size = make(Path(name), options.rows, options.classes, options.dtype)
        print(f"{options.rows:,} × {options.classes} probabilities, {options.dtype}, {size / 2**20:.0f} MiB")
        print()
        print("| intervals | seconds | peak RSS, MiB | of it pages of files | before | error | nats | ECE |")
        print("|---|---|---|---|---|---|---|---|")
        for resamples in (0, options.resamples):
            command = [sys.executable, __file__, "--measure", name, "--resamples", str(resamples)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout)
            numbers = (found["seconds"], found["peak_mib"], found["mapped_mib"], found["before_mib"])
            shown = " | ".join(f"{number:.1f}" for number in numbers)
            rest = " | ".join(f"{found[key]:.5f}" for key in ("error", "cross_entropy", "ece"))
            print(f"| {f'{resamples} resamples' if resamples else 'none'} | {shown} | {rest} |")


if __name__ == "__main__":
    main()
