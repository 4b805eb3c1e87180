"""One case of heads.py: `python head_probes.py WHAT` reads it as JSON on stdin, answers on stdout.

Only heads.py starts it, one process a case, so that peak memory is the case's own.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

GEMM_SIZE = 4096


def timed(call: Callable[[], object], repeats: int) -> list[float]:
    """Seconds of each run, after one that is not counted."""
    call()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return times


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def loss_of(method: str) -> Callable[..., torch.Tensor]:
    """The method as a function of features, weight and labels."""
    if method == "crosshead":
        from crosshead.nn.functional import linear_cross_entropy

        return linear_cross_entropy
    if method == "chunked":
        options = torch.nn.LinearCrossEntropyOptions()
        return lambda x, w, y: functional.linear_cross_entropy(x, w, y, options=options)

    def unfused(x: torch.Tensor, w: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(functional.linear(x, w), y)

    return torch.compile(unfused) if method == "compiled" else unfused


def filled(rows: int, columns: int, scale: float, dtype: torch.dtype) -> torch.Tensor:
    """Normal numbers, made a block at a time so that nothing larger was ever resident."""
    out = torch.empty(rows, columns, dtype=dtype)
    for part in out.split(4096):
        part.copy_(torch.randn(part.shape) * scale)
    return out


def head(case: dict[str, Any]) -> dict[str, Any]:
    """Seconds of each run, and the peak beyond features, weight and their gradients."""
    dtype = getattr(torch, case["dtype"])
    x = filled(case["rows"], case["features"], 1.0, dtype).requires_grad_()
    w = filled(case["classes"], case["features"], case["features"] ** -0.5, dtype).requires_grad_()
    y = torch.randint(case["classes"], (case["rows"],))
    loss = loss_of(case["method"])

    def run() -> None:
        x.grad = w.grad = None
        loss(x, w, y).backward()

    small = filled(32, case["features"], 0.1, dtype).requires_grad_()
    loss(x[:32], small, y[:32] % 32).backward()  # what is set up once is no part of the case
    x.grad = None
    own = peak_bytes() + x.nbytes + w.nbytes  # gradients to come
    times = timed(run, case["repeats"])
    return {"seconds": times, "peak": peak_bytes() - own}


def scores(case: dict[str, Any]) -> dict[str, list[float]]:
    """Seconds of a copy, of our loss and gradient, of PyTorch's."""
    from crosshead.nn.backends import native_scores
    from crosshead.nn.row_losses import Softmax, Targets

    dtype = getattr(torch, case["dtype"])
    z = filled(case["rows"], case["classes"], 1.0, dtype)
    y = torch.randint(case["classes"], (case["rows"],))
    targets, upstream, out = Targets(case["classes"], y), torch.full((1, len(z)), 1 / len(z)), torch.empty_like(z)
    repeats = case["repeats"]
    found = {"copy": timed(lambda: out.copy_(z), repeats)}
    found["crosshead"] = timed(
        lambda: native_scores.states_and_gradient(Softmax(), z, targets, upstream, out=out), repeats
    )
    leaf = z.clone().requires_grad_()

    def unfused() -> None:
        leaf.grad = None
        functional.cross_entropy(leaf, y).backward()

    found["F.cross_entropy"] = timed(unfused, repeats)
    found["in place"] = timed(
        lambda: native_scores.states_and_gradient(Softmax(), z, targets, upstream, out=z), repeats
    )
    return found


def gemm(case: dict[str, Any]) -> float:
    """GF/s of PyTorch's float32 GEMM."""
    a = torch.randn(GEMM_SIZE, GEMM_SIZE)
    out = torch.empty_like(a)
    return 2e-9 * GEMM_SIZE**3 / min(timed(lambda: torch.mm(a, a, out=out), case["repeats"]))


def main() -> None:
    case = json.load(sys.stdin)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: case["threads"]])
    torch.set_num_threads(case["threads"])
    torch.manual_seed(0)
    answer = {"head": head, "scores": scores, "gemm": gemm}[sys.argv[1]](case)
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
