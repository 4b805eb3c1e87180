"""Launches the Triton backend as on a GPU that need not be there, up to its machine code; prints one line a kernel.

`python tests/nn/backends/triton_compilation.py 90`: compute capability 9.0. The tensors lie on the CPU.
"""

import sys

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver

from crosshead.nn.backends import triton_tiles
from crosshead.nn.backends.projections import Cosine, Linear
from crosshead.nn.backends.protocol import Problem
from crosshead.nn.row_losses import Binary, CrammerSinger, Softmax, SquaredError, Targets, WestonWatkins

CASES = [
    (Softmax(), torch.float32, Linear(), (1, 1, 1)),
    (Softmax(0.1, 2.0), torch.bfloat16, Linear(), (1024, 512, 100_000)),
    (Softmax(0.1), torch.float16, Cosine(), (33, 64, 1000)),
    (WestonWatkins(), torch.bfloat16, Linear(), (1024, 512, 1001)),
    (WestonWatkins(1.0, 2.0), torch.float16, Linear(), (1000, 17, 252)),
    (CrammerSinger(), torch.float32, Linear(), (1024, 512, 1000)),
    (Binary(), torch.bfloat16, Linear(), (1, 512, 1000)),
    (SquaredError(), torch.float32, Cosine(), (1024, 512, 1000)),
]
"""A loss, a type, a projection, and how many rows, features and classes. Triton compiles anew for numbers that are 1 or
no multiple of 16. Even losses have class numbers as targets, odd ones, where they can, a number for each class."""


class Absent:
    """As much of a GPU's driver as compiling asks for."""

    def __init__(self, capability):
        self.target = GPUTarget("cuda", capability, 32)

    def get_current_target(self):
        return self.target

    def get_current_device(self):
        return 0

    def get_current_stream(self, device=None):
        return 0


def compile_only(call, kernel, blocks, parts, *arguments):
    """In place of running a kernel."""
    done = kernel.run(
        *arguments,
        call.plan,
        grid=(1, parts),
        warmup=True,
        num_warps=call.blocks.warps,
        num_stages=call.blocks.stages,
    )
    how = next((name for name in ("wgmma.mma", "mma.sync") if name in done.asm["ptx"]), "fma")
    print(call.problem.input.dtype, call.plan.loss, kernel.fn.__name__, how, done.metadata.shared)


def problem_of(loss, dtype, projection, rows, features, classes, *, numbers):
    """Zeros of these sizes."""
    index = torch.zeros(rows, dtype=torch.int64)
    dense = torch.zeros(rows, classes) if numbers else None
    weight = torch.zeros(classes)
    targets = Targets(classes, None if numbers else index, dense, weight, weight if isinstance(loss, Binary) else None)
    input, layer = torch.zeros(rows, features, dtype=dtype), torch.zeros(classes, features, dtype=dtype)
    return Problem(input, layer, weight.to(dtype) if isinstance(projection, Linear) else None, targets)


def main():
    driver.set_active(Absent(int(sys.argv[1])))
    triton_tiles._Call.run = compile_only
    for loss, dtype, projection, (rows, features, classes) in CASES:
        numbers = not loss.needs_target_score and dtype != torch.float16 and classes > 1
        problem = problem_of(loss, dtype, projection, rows, features, classes, numbers=numbers)
        own = triton_tiles.target_scores(projection, problem) if loss.needs_target_score else None
        upstream = torch.ones(loss.outputs, rows)
        wanted = (True, True, problem.bias is not None)
        triton_tiles.states_and_gradients(loss, projection, problem, own, upstream, wanted)


if __name__ == "__main__":
    main()
