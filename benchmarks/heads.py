"""Linear layer and cross-entropy for very many classes, forward and backward on the CPU; Markdown on stdout.

python benchmarks/heads.py [--quick] [--threads 2] [--repeats 5] [--only NAME,NAME] [--classes C,C] [--no-scores]
                           [--python INTERPRETER]

Each case runs in a process of its own, which must import PyTorch: this interpreter, unless --python names another.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from environments import HERE, commit, machine, variables_of

ROWS, FEATURES = 1024, 512
CLASSES = (1_000, 10_000, 100_000)
MOST_CLASSES = 1_000_000  # for crosshead alone: unfused scores would take 4 GB, and as much again for their gradient
TYPES = ("float32", "bfloat16")
METHODS = {
    "crosshead": "crosshead",
    "unfused": "F.cross_entropy(F.linear)",
    "compiled": "the same, torch.compile",
    "chunked": "F.linear_cross_entropy(options)",
}
BYTES = {"float32": 4, "bfloat16": 2}
LIMIT_SECONDS = 140  # a process is given up after so long
SCORES = 100_000_000


@dataclass(frozen=True)
class Case:
    """One method at one number of classes in one type."""

    method: str
    classes: int
    dtype: str
    rows: int = ROWS
    features: int = FEATURES


def probe(what: str, request: dict[str, Any], interpreter: str, threads: int) -> Any:
    """Run one probe in a process of its own; its answer, or one line on why there is none."""
    try:
        done = subprocess.run(
            [interpreter, str(HERE / "head_probes.py"), what],
            input=json.dumps(request),
            env=variables_of("", threads),
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"over {LIMIT_SECONDS} s"
    if done.returncode:
        print(f"{what} {request}: {(done.stderr.strip().splitlines() or ['no message'])[-1]}", file=sys.stderr)
        return "failed"
    return json.loads(done.stdout.strip().splitlines()[-1])


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def seconds(answer: Any) -> str:
    """Median, and the fastest in brackets."""
    return answer if isinstance(answer, str) else f"{median(answer['seconds']):.3g} ({min(answer['seconds']):.3g})"


def megabytes(answer: Any) -> str:
    return "–" if isinstance(answer, str) else f"{answer['peak'] / 1e6:.0f}"


def ratio(answer: Any, other: Any) -> str:
    if isinstance(answer, str) or isinstance(other, str):
        return "–"
    return f"{median(answer['seconds']) / median(other['seconds']):.2f}"


def cases(quick: bool, only: list[str], counts: list[int]) -> list[Case]:
    """The grid; quick: a sixteenth of the rows, no C above 10,000."""
    rows = ROWS // 16 if quick else ROWS
    return [
        Case(method, count, dtype, rows)
        for dtype in TYPES
        for count in counts
        for method in only
        if (not quick or count <= 10_000) and (count < MOST_CLASSES or method == "crosshead")
    ]


def times_of_heads(found: dict[Case, Any], gflops: float) -> str:
    """The table of methods, one line a case."""
    head = ["C", "type", "method", "seconds", "÷ crosshead", "÷ three products at GEMM rate", "peak MB beyond the rest"]
    rows = []
    for case, answer in found.items():
        ours = found.get(Case("crosshead", case.classes, case.dtype, case.rows), "–")
        limit = 6 * case.rows * case.features * case.classes / gflops / 1e9
        beside = (
            "–" if isinstance(answer, str) or case.dtype != "float32" else f"{median(answer['seconds']) / limit:.2f}"
        )
        rows.append([f"{case.classes:,}", case.dtype, METHODS[case.method], seconds(answer), ratio(answer, ours),
                     beside, megabytes(answer)])  # fmt: skip
    return table(head, rows)


def times_of_scores(interpreter: str, threads: int, repeats: int, quick: bool) -> str:
    """The table of given scores: GB/s counting one read and one write of each score."""
    total = SCORES // 50 if quick else SCORES
    head = ["rows × C", "type", "copy", "crosshead", "crosshead, in place", "F.cross_entropy", "crosshead ÷ copy"]
    rows = []
    for dtype in TYPES:
        for count in CLASSES:
            request = {"rows": total // count, "classes": count, "dtype": dtype, "threads": threads, "repeats": repeats}
            answer = probe("scores", request, interpreter, threads)
            if isinstance(answer, str):
                rows.append([f"{total // count:,} × {count:,}", dtype, answer, *["–"] * 4])
                continue
            moved = 2 * total * BYTES[dtype] / 1e9
            rate = {name: moved / median(times) for name, times in answer.items()}
            shown = [f"{rate[name]:.1f}" for name in ("copy", "crosshead", "in place", "F.cross_entropy")]
            rows.append([f"{total // count:,} × {count:,}", dtype, *shown, f"{rate['crosshead'] / rate['copy']:.2f}"])
    return table(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="for every method (default 2)")
    parser.add_argument(
        "--repeats", type=int, default=5, help="of each case, after one that is not counted (default 5)"
    )
    parser.add_argument("--only", default=",".join(METHODS), help=f"of {', '.join(METHODS)}")
    every = ",".join(str(count) for count in (*CLASSES, MOST_CLASSES))
    parser.add_argument("--classes", default=every, help=f"how many (default {every}; the last for crosshead alone)")
    parser.add_argument("--no-scores", action="store_true", help="leave out the table of given scores")
    parser.add_argument("--python", default=sys.executable, help="an interpreter that can import torch")
    parser.add_argument("--quick", action="store_true", help="few rows and classes: does everything work here?")
    options = parser.parse_args()
    only = options.only.split(",")
    if unknown := [name for name in only if name not in METHODS]:
        parser.error(f"--only: no method {unknown[0]!r}; there are {', '.join(METHODS)}")
    gflops = probe("gemm", {"threads": options.threads, "repeats": options.repeats}, options.python, options.threads)
    if isinstance(gflops, str):
        raise SystemExit("the GEMM rate could not be measured: is PyTorch installed? (--python)")
    grid = cases(options.quick, only, [int(count) for count in options.classes.split(",")])
    rows = ROWS // 16 if options.quick else ROWS
    found = {}
    for case in grid:
        request = {**asdict(case), "threads": options.threads, "repeats": options.repeats}
        found[case] = probe("head", request, options.python, options.threads)
        print(f"{case.method} {case.classes:,} {case.dtype}: {seconds(found[case])} s", file=sys.stderr)
    print(f"# A fused head, {rows} × {FEATURES}, forward and backward, {options.threads} threads\n")
    print(f"{machine()['cpu']}, commit {commit()}. float32 GEMM of PyTorch: {gflops:.0f} GF/s, measured in this run. "
          "Seconds: median (fastest). Memory: the peak of the process beyond features, weight and "
          "both their gradients.\n")  # fmt: skip
    print(times_of_heads(found, gflops))
    if options.no_scores:
        return
    print("# Cross-entropy of given scores, loss and gradient\n")
    print("GB/s, counting one read and one write of each score; the copy is PyTorch's, measured in the same process.\n")
    print(times_of_scores(options.python, options.threads, options.repeats, options.quick))


if __name__ == "__main__":
    main()
