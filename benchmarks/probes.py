"""One tool's milliseconds of a pass: `python probes.py TOOL` reads the cases as JSON on stdin, answers on stdout.

Only pass.py starts it, in the tool's environment. A pass is the softmax loss and its gradient over all rows, float32.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

Case = dict[str, int]
READ_FLOATS = 1 << 28  # 1 GiB: far more than any cache
GEMM_SIZE = 4096


def use_cpus(count: int) -> None:
    """Keep to this many CPUs."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def fastest(call: Callable[[], object], seconds: float) -> list[float]:
    """Milliseconds of every run in about this time, after one that is not counted."""
    call()
    times: list[float] = []
    ends = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < ends:
        began = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - began))
    return times


def arrays(case: Case) -> tuple[Any, Any, Any]:
    """X (N, D), y (N,) and W (C, D), such that no class is certain."""
    import numpy as np

    chance = np.random.default_rng(0)
    x = chance.standard_normal((case["rows"], case["features"]), dtype=np.float32)
    y = chance.integers(0, case["classes"], case["rows"])
    weight = chance.standard_normal((case["classes"], case["features"])) / case["features"] ** 0.5
    return x, y, weight


def crosshead_pass(case: Case, threads: int) -> Callable[[], object]:
    import numpy as np

    from crosshead.engines import TrainingData, make_engine
    from crosshead.losses import get_loss

    x, y, weight = arrays(case)
    engine = make_engine("auto", TrainingData(x, y.astype(np.int32), case["classes"]), threads)
    loss, bias = get_loss("softmax"), np.zeros(case["classes"])
    return lambda: engine.evaluate(weight, bias, loss, exact=False)


def torch_pass(case: Case, threads: int) -> Callable[[], object]:
    import torch
    from torch.nn import functional

    torch.set_num_threads(threads)
    x, y, weight = arrays(case)
    features, labels = torch.from_numpy(x), torch.from_numpy(y)
    w = torch.tensor(weight, dtype=torch.float32, requires_grad=True)
    b = torch.zeros(case["classes"], requires_grad=True)

    def run() -> None:
        w.grad = b.grad = None
        functional.cross_entropy(functional.linear(features, w, b), labels).backward()

    return run


def sklearn_pass(case: Case, threads: int) -> Callable[[], object]:
    import numpy as np
    from sklearn._loss import HalfMultinomialLoss
    from sklearn.linear_model._linear_loss import LinearModelLoss

    x, y, weight = arrays(case)
    loss = LinearModelLoss(base_loss=HalfMultinomialLoss(n_classes=case["classes"]), fit_intercept=True)
    coef = np.asfortranarray(np.hstack([weight, np.zeros((case["classes"], 1))]).astype(np.float32))
    target = y.astype(np.float32)
    return lambda: loss.loss_gradient(coef, x, target, l2_reg_strength=1e-5, n_threads=threads)


PASSES = {"crosshead": crosshead_pass, "torch": torch_pass, "sklearn": sklearn_pass}


def read_gb_per_second(threads: int, seconds: float) -> float:
    """Read bandwidth: each thread sums the squares of its own share of an array larger than the caches."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    shares = [np.ones(READ_FLOATS // threads, dtype=np.float32) for _ in range(threads)]
    with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
        times = fastest(lambda: list(pool.map(lambda share: share @ share, shares)), seconds)
    return sum(share.nbytes for share in shares) / min(times) / 1e6


def gemm_gflops(seconds: float) -> float:
    """float32 GEMM rate of this environment's BLAS: PyTorch's where there is one, else NumPy's."""
    import numpy as np

    a = np.ones((GEMM_SIZE, GEMM_SIZE), dtype=np.float32)
    try:
        import torch
    except ImportError:
        times = fastest(lambda: a @ a, seconds)
    else:
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        tensor = torch.from_numpy(a)
        times = fastest(lambda: tensor @ tensor, seconds)
    return 2 * GEMM_SIZE**3 / min(times) / 1e6


def main() -> None:
    tool = sys.argv[1]
    request = json.load(sys.stdin)
    threads, seconds = request["threads"], request["seconds"]
    use_cpus(threads)
    if tool == "bandwidth":
        answer: Any = read_gb_per_second(threads, seconds)
    elif tool == "gemm":
        answer = gemm_gflops(seconds)
    else:
        answer = [fastest(PASSES[tool](case, threads), seconds) for case in request["cases"]]
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
