"""Golden traces: what every solver does on problems that stay the same, to see what a change to the solvers changes.

python benchmarks/golden.py record FILE.json [--only NAME…]     methods, passes, status, bits of value and gap
python benchmarks/golden.py compare A.json B.json [--only NAME…]  a line a difference; exit code 1 where there is one
python benchmarks/golden.py list

Bits are those of one machine and one set of libraries: both files must come from the same. Processor
seconds are recorded, but are no difference.
"""

from __future__ import annotations

import os

# Before NumPy is imported: on several threads BLAS may add in another order.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import argparse
import json
import platform
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from crosshead.linear import ConvergenceWarning, LinearClassifier, LinearClassifierCV, regularisation_path
from golden_cases import CASES, Case
from tracing import RunTrace, method_classes, recorded

MAX_ITER = 300
FOLDS = 2
PATH_STEPS, CV_STEPS = (100.0, 30.0, 10.0, 3.0, 1.0), (100.0, 10.0, 1.0)  # alphas, in the problem's own
NUMBERS = ("iterations", "passes", "factorisations")
BITS = ("value", "gap")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("record", "compare", "list"))
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="problems of these names, or that begin so")
    options = parser.parse_args()
    wanted = {"record": 1, "compare": 2, "list": 0}[options.action]
    if len(options.files) != wanted:
        parser.error(f"{options.action} takes {wanted} files, not {len(options.files)}")
    chosen = [case for case in CASES if options.only is None or case.name.startswith(tuple(options.only))]
    if not chosen:
        parser.error(f"no problem is called {' or '.join(options.only)}: `golden.py list` names them")
    if options.action == "record":
        return record(chosen, options.files[0])
    if options.action == "compare":
        return compare(*(json.loads(file.read_text()) for file in options.files), {case.name for case in chosen})
    for case in chosen:
        print(case.name, " ".join(f"{key}={value}" for key, value in asdict(case).items() if key != "name"))
    return 0


def record(cases: list[Case], file: Path) -> int:
    """Fit everything, and write what happened; after each problem what there is."""
    began = time.perf_counter()
    traces: dict[str, dict[str, Any]] = {}
    for case in cases:
        for kind in case.kinds:
            traces[f"{case.name}/{kind}"] = trace = traced(case, kind)
            print(f"{case.name}/{kind}: {trace['seconds']:.2f} s, {summary(trace)}", flush=True)
        temporary = file.with_suffix(".tmp")
        temporary.write_text(json.dumps({"machine": machine(), "traces": traces}, indent=1))
        temporary.replace(file)
    used = {name for trace in traces.values() for run in trace["runs"] for name in [run["outer"], *run["methods"]]}
    unused = sorted(each.__name__ for each in method_classes() if each.__name__ not in used)
    spent = sum(trace["seconds"] for trace in traces.values())
    print(f"{len(traces)} traces in {time.perf_counter() - began:.0f} s, {spent:.0f} s of them processor time of fits")
    if unused:
        print(f"methods that no problem used: {', '.join(unused)}")
    return 0


def machine() -> dict[str, str]:
    """What the bits depend on."""
    import scipy
    import sklearn

    versions = {"numpy": np.__version__, "scipy": scipy.__version__, "sklearn": sklearn.__version__}
    cpu = Path("/proc/cpuinfo")
    names = [line for line in cpu.read_text().splitlines() if line.startswith("model name")] if cpu.is_file() else []
    return {**versions, "python": platform.python_version(), "cpu": names[0].partition(":")[2].strip() if names else ""}


def traced(case: Case, kind: str) -> dict[str, Any]:
    """One fit, path or cross-validation."""
    X, y, weight = case.rows()
    options: dict[str, Any] = {
        "l1_ratio": case.l1_ratio,
        "fit_intercept": case.intercept,
        "tol": case.tol,
        "max_iter": MAX_ITER,
        "n_threads": 1,
    }
    began = time.process_time()
    with recorded() as trace, warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        if kind == "fit":
            model = LinearClassifier(case.loss, alpha=case.alpha, **options).fit(X, y, weight)
            passes = model.n_passes_
        elif kind == "path":
            alphas = [step * case.alpha for step in PATH_STEPS]
            path = regularisation_path(X, y, alphas, loss=case.loss, sample_weight=weight, **options)
            passes = int(path.passes.sum())
        else:
            alphas = [step * case.alpha for step in CV_STEPS]
            chosen = LinearClassifierCV(case.loss, alphas=alphas, cv=FOLDS, **options).fit(X, y, weight)
            passes = chosen.total_passes_
    seconds = time.process_time() - began
    return {"seconds": round(seconds, 3), "passes": passes, "runs": [run_of(run) for run in trace.runs]}


def run_of(run: RunTrace) -> dict[str, Any]:
    """What is recorded of a run of the solver."""
    result = run.result
    return {
        "outer": run.outer,
        "methods": run.methods,
        "status": result.status,
        "iterations": result.iterations,
        "passes": result.passes,
        "factorisations": result.history[-1].factorisations,
        "value": float(result.value).hex(),
        "gap": float(result.gap).hex(),
    }


def summary(trace: dict[str, Any]) -> str:
    """The methods and how the runs ended, in one line."""
    names = list(dict.fromkeys(name for run in trace["runs"] for name in run["methods"]))
    endings = list(dict.fromkeys(run["status"] for run in trace["runs"]))
    return f"{trace['passes']} passes, {', '.join(names)}; {', '.join(endings)}"


def compare(old: dict[str, Any], new: dict[str, Any], names: set[str]) -> int:
    """Print what differs; 1 where anything does."""
    for key in sorted({*old["machine"], *new["machine"]}):
        if old["machine"].get(key) != new["machine"].get(key):
            print(f"machine: {key} {old['machine'].get(key)} → {new['machine'].get(key)}; bits may differ for it")
    before, after = ({k: t for k, t in each["traces"].items() if k.split("/")[0] in names} for each in (old, new))
    both, changed = [key for key in before if key in after], 0
    missing = [(key, "first") for key in after if key not in before]
    missing += [(key, "second") for key in before if key not in after]
    for key, file in missing:
        print(f"{key}: not in the {file} file's problems")
    for key in both:
        lines = list(differences(before[key], after[key]))
        changed += bool(lines)
        for line in lines:
            print(f"{key}: {line}")
    passes = [sum(each[key]["passes"] for key in both) for each in (before, after)]
    seconds = [sum(each[key]["seconds"] for key in both) for each in (before, after)]
    print(
        f"{changed} of {len(both)} traces differ; passes {change(*passes)}; seconds {seconds[0]:.0f} → {seconds[1]:.0f}"
    )
    return int(changed > 0 or bool(missing))


def differences(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    """A line for each thing that changed."""
    if old["passes"] != new["passes"]:
        yield f"passes in all {change(old['passes'], new['passes'])}"
    if len(old["runs"]) != len(new["runs"]):
        yield f"runs {len(old['runs'])} → {len(new['runs'])}"
        return
    for place, (before, after) in enumerate(zip(old["runs"], new["runs"], strict=True)):
        where = f"run {place + 1}: " if len(old["runs"]) > 1 else ""
        if before["methods"] != after["methods"]:
            yield f"{where}methods {' '.join(before['methods'])} → {' '.join(after['methods'])}"
        if before["status"] != after["status"]:
            yield f"{where}status {before['status']} → {after['status']}"
        for number in NUMBERS:
            if before[number] != after[number]:
                yield f"{where}{number} {change(before[number], after[number])}"
        for bits in BITS:
            if before[bits] != after[bits]:
                was, now = float.fromhex(before[bits]), float.fromhex(after[bits])
                yield f"{where}{bits} {was:.17g} → {now:.17g} ({relative(was, now):+.1e})"


def change(old: float, new: float) -> str:
    """From what to what, and by which share."""
    return f"{old} → {new} ({100 * relative(old, new):+.1f} %)" if old != new else f"{old}"


def relative(old: float, new: float) -> float:
    return (new - old) / abs(old) if old else float("inf")


if __name__ == "__main__":
    sys.exit(main())
