"""One fit in this process: `python worker.py request.json` writes answer.json and weights.npz beside the request.

Only measure.py starts it, with the interpreter of the solver's environment and the thread counts already in the
environment variables. The fit is preceded by one on a toy problem, so that no lazy import or thread start is timed.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

TOY_ROWS, TOY_FEATURES, TOY_CLASSES = 60, 8, 3


def use_cpus(count: int) -> None:
    """Keep to this many CPUs, whatever the library thinks."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def status_mb(key: str) -> float:
    """VmRSS or VmHWM of this process, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"/proc/self/status has no {key}")


def forget_peak() -> float:
    """Give back freed memory, start the peak anew, and return what is resident now, in MB."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return status_mb("VmRSS")


def warm_up(peer: Any, problem: Any, threads: int) -> None:
    """Fit a toy problem of the same kind; what goes wrong here goes wrong again, and is reported, in the real fit."""
    import numpy as np
    from scipy import sparse

    chance = np.random.default_rng(0)
    features = chance.random((TOY_ROWS, TOY_FEATURES)).astype(peer.dtype)
    classes = min(problem.classes, TOY_CLASSES)
    labels = np.arange(TOY_ROWS) % classes
    toy = replace(problem, rows=TOY_ROWS, features=TOY_FEATURES, classes=classes, alpha=0.01)
    try:
        peer.prepare(
            toy, sparse.csr_matrix(features) if problem.sparse else features, labels, next(peer.budgets()), threads
        )()
    except Exception as error:
        print(f"warm-up: {type(error).__name__}: {error}", file=sys.stderr)


def measure(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Load, warm up, fit under the clock, save the weights."""
    import numpy as np

    from datasets import read_rows
    from peers import peer_named
    from problems import Problem

    peer, problem = peer_named(request["solver"]), Problem(**request["problem"])
    features, labels = read_rows(Path(request["data"]))
    features = features.astype(peer.dtype, copy=False)
    warm_up(peer, problem, request["threads"])
    fit = peer.prepare(problem, features, labels, request["budget"], request["threads"])
    before = forget_peak()
    began = time.perf_counter()
    solution = fit()
    seconds = time.perf_counter() - began
    peak = status_mb("VmHWM") - before
    np.savez(folder / "weights.npz", coef=np.asarray(solution.coef), intercept=np.asarray(solution.intercept))
    return {
        "seconds": seconds,
        "peak_memory_mb": peak,
        "own_gap": solution.own_gap,
        "words": solution.words,
        "version": peer.version(),
    }


def main() -> None:
    path = Path(sys.argv[1])
    request = json.loads(path.read_text())
    use_cpus(request["threads"])
    try:
        answer = measure(request, path.parent)
    except MemoryError:
        answer = {"error": "ran out of memory"}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
    (path.parent / "answer.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
