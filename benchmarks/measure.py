"""One fit of one solver in a fresh process, judged by the independent objective."""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from environments import HERE, python_of, variables_of
from objective import objective
from peers import peer_named
from problems import Problem
from records import TOO_LONG

LOADING_SECONDS = 120.0  # for what is not the fit: starting, importing, loading


@dataclass(frozen=True)
class Data:
    """A prepared data set: the folder the worker reads, and its rows in this process for the objective."""

    folder: Path
    features: Any
    labels: np.ndarray


@dataclass(frozen=True)
class Outcome:
    """What one fit took and reached; ``error`` alone where it gave no weights."""

    seconds: float = float("nan")
    objective: float = float("nan")
    peak_memory_mb: float = float("nan")
    own_gap: float | None = None
    density: float = float("nan")
    words: str = ""
    version: str = ""
    error: str = ""


def run_fit(solver: str, problem: Problem, data: Data, budget: float, *, threads: int, kill_after: float) -> Outcome:
    """Fit in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        request = {
            "solver": solver,
            "problem": asdict(problem),
            "data": str(data.folder),
            "budget": budget,
            "threads": threads,
        }
        (folder / "request.json").write_text(json.dumps(request))
        failure = run_script("worker.py", peer_named(solver).environment, folder, threads, kill_after)
        if failure:
            return Outcome(error=failure)
        answer = json.loads((folder / "answer.json").read_text())
        if "error" in answer:
            return Outcome(error=answer["error"])
        with np.load(folder / "weights.npz") as weights:
            coef, intercept = weights["coef"], weights["intercept"]
    return _judged(answer, problem, data, coef, intercept)


def run_script(script: str, environment: str, folder: Path, threads: int, kill_after: float) -> str:
    """Run a worker on the request in a folder; "" or why there is no answer."""
    command = [str(python_of(environment)), str(HERE / script), str(folder / "request.json")]
    log = folder / "log.txt"
    try:
        with log.open("w") as file:
            done = subprocess.run(
                command,
                env=variables_of(environment, threads),
                timeout=kill_after + LOADING_SECONDS,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
    except subprocess.TimeoutExpired:
        return f"{TOO_LONG} within {kill_after:.0f} s"
    if (folder / "answer.json").is_file():
        return ""
    last = log.read_text(errors="replace").strip().splitlines()[-1:] or [""]
    how = f"was killed by signal {-done.returncode}" if done.returncode < 0 else f"exited with {done.returncode}"
    return f"{how} {last[0]}".strip()


def _judged(answer: dict[str, Any], problem: Problem, data: Data, coef: np.ndarray, intercept: np.ndarray) -> Outcome:
    try:
        value = objective(problem, data.features, data.labels, coef, intercept)
    except ValueError as error:
        return Outcome(error=str(error))
    if not np.isfinite(value):
        return Outcome(error=f"returned weights with objective {value}")
    return Outcome(objective=value, density=float(np.mean(coef != 0)), **answer)
