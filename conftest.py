"""Doctests of crosshead.nn are collected only where PyTorch is installed: everything else is tested without it.

Of the Triton kernels only where Triton is installed as well.
"""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("torch") else ["src/crosshead/nn/*"]
if not find_spec("triton"):
    collect_ignore_glob += [f"src/crosshead/nn/triton_{name}.py" for name in ("kernels", "losses", "tiles")]
