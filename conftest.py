"""What all tests share: no test depends on the machine's speed or on chance.

Doctests that need an optional package are collected only where it is installed: all else is tested without it.
"""

import datetime
import sys
from importlib.util import find_spec
from pathlib import Path

from hypothesis import settings

settings.register_profile("crosshead", deadline=None, derandomize=True)
settings.load_profile("crosshead")

sys.path.insert(0, str(Path(__file__).parent / "tools"))

_NEEDS = {
    "torch": ("src/crosshead/nn/*",),
    "onnx": ("src/crosshead/export/*",),
    "triton": tuple(f"src/crosshead/nn/backends/triton_{name}.py" for name in ("kernels", "losses", "tiles")),
}

collect_ignore_glob = [
    pattern for package, patterns in _NEEDS.items() if find_spec(package) is None for pattern in patterns
]


def pytest_report_header() -> str:
    """How old the versions are that the tests run with."""
    import constraints

    made = constraints.date_of_constraints()
    return f"constraints.txt: of {made}, {(datetime.date.today() - made).days} days old; `make constraints` renews it"
