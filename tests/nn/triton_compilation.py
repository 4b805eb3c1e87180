"""Compiles the Triton kernels for a GPU that need not be there, and prints what came out, one line a kernel.

`python tests/nn/triton_compilation.py 90`: compute capability 9.0.
"""

import sys

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from crosshead.nn import triton_kernels as kernels
from crosshead.nn import triton_tiles
from crosshead.nn.row_losses import Binary, CrammerSinger, Softmax, SquaredError, WestonWatkins
from crosshead.nn.triton_rows import kernel_of

TYPES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
CASES = [
    (Softmax(), torch.float32, ()),
    (Softmax(0.1, 2.0), torch.bfloat16, ("index",)),
    (Softmax(0.1), torch.float16, ("dense", "bias", "margined")),
    (WestonWatkins(), torch.bfloat16, ("dense",)),
    (WestonWatkins(1.0, 2.0), torch.float16, ("dense", "class_scale")),
    (CrammerSinger(), torch.float32, ("dense",)),
    (Binary(), torch.bfloat16, ("index",)),
    (SquaredError(), torch.float32, ("index",)),
]
"""A loss, a type, and which arrays are missing; `margined` marks a loss with margins."""
ALIGNED = ("input", "weight", "input_stride", "weight_stride", "features", "class_weight", "index", "dense")


def types_of(dtype, missing):
    """The kernel's types of `Arrays`, None where one is missing."""
    number, single = f"*{TYPES[dtype]}", "*fp32"
    floats = ("class_scale", "dense", "class_weight", "positive_weight", "own", "backward")
    types = {"index": "*i64", **dict.fromkeys(floats, single), **dict.fromkeys(("input", "weight", "bias"), number)}
    return {name: None if name in missing else types.get(name, "i32") for name in kernels.Arrays._fields}


def compiled(kernel, loss, dtype, missing, capability):
    """The kernel for this problem, through the whole compiler."""
    blocks = triton_tiles.BLOCKS[dtype]
    plan = triton_tiles._plan(kernel_of(loss), dtype, blocks)._replace(margined="margined" in missing)
    if "dense" not in missing:
        missing = (*missing, "index")
    if not (loss.needs_target_score or plan.margined):
        missing = (*missing, "own")
    types = types_of(dtype, missing)
    place = kernel.arg_names.index("arrays")
    known = {
        "out": "*fp32",
        "bias_out": "*fp32",
        "arrays": kernels.Arrays(*["constexpr" if found is None else found for found in types.values()]),
        "options": kernels.Options("fp32", "fp32", "fp32"),
        "plan": "constexpr",
    }
    constants = {(place, at): None for at, found in enumerate(types.values()) if found is None}
    source = ASTSource(
        fn=kernel,
        signature={name: known.get(name, "i32") for name in kernel.arg_names},
        constexprs={**constants, (kernel.arg_names.index("plan"),): plan},
        attrs={
            (place, at): [["tt.divisibility", 16]] for at, name in enumerate(types) if name in ALIGNED and types[name]
        },
    )
    options = {"num_warps": blocks.warps, "num_stages": blocks.stages}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


def main():
    for loss, dtype, missing in CASES:
        for kernel in (kernels.states_kernel, kernels.weight_gradient_kernel, kernels.input_gradient_kernel):
            done = compiled(kernel, loss, dtype, missing, int(sys.argv[1]))
            assembly = done.asm["ptx"]
            how = next((name for name in ("wgmma.mma", "mma.sync") if name in assembly), "fma")
            print(TYPES[dtype], loss.kernel[0], kernel.fn.__name__, how, done.metadata.shared)


if __name__ == "__main__":
    main()
