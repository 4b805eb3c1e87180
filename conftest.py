"""Doctests that need an optional package are collected only where it is installed: all else is tested without it."""

from importlib.util import find_spec

_NEEDS = {
    "torch": ("src/crosshead/nn/*",),
    "onnx": ("src/crosshead/export/*",),
    "triton": tuple(f"src/crosshead/nn/triton_{name}.py" for name in ("kernels", "losses", "tiles")),
}

collect_ignore_glob = [
    pattern for package, patterns in _NEEDS.items() if find_spec(package) is None for pattern in patterns
]
