"""Lists the public names with their signatures, as tests/public_api.txt has them: `python tools/public_api.py`.

Public is what a package's `__all__` names, and in the modules listed here every name that they define without an
underscore. tests/test_public_api.py compares the list with the code, so that no change of it goes unnoticed.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

FILE = Path(__file__).resolve().parents[1] / "tests" / "public_api.txt"
MODULES = (
    "crosshead",
    "crosshead.losses",
    "crosshead.losses.functions",
    "crosshead.penalties",
    "crosshead.scaling",
    "crosshead.engines",
    "crosshead.objective",
    "crosshead.solvers",
    "crosshead.linear",
    "crosshead.data",
    "crosshead.backbones",
    "crosshead.models",
    "crosshead.export",
    "crosshead.evaluation",
    "crosshead.explain",
    "crosshead.diagnostics",
    "crosshead.report",
)
TORCH_MODULES = (
    "crosshead.nn",
    "crosshead.nn.functional",
    "crosshead.nn.optim",
    "crosshead.nn.parallel",
    "crosshead.nn.training",
)


def modules() -> tuple[str, ...]:
    """The public modules that can be imported here: those of PyTorch only if it is installed."""
    return MODULES + (TORCH_MODULES if find_spec("torch") is not None else ())


def public_names(module: ModuleType) -> list[str]:
    """The names in `__all__`, else those that the module defines."""
    if hasattr(module, "__all__"):
        return sorted(module.__all__)
    own = [name for name, found in vars(module).items() if getattr(found, "__module__", None) == module.__name__]
    return sorted(name for name in own if not name.startswith("_"))


def public_objects() -> Iterator[tuple[str, Any]]:
    """Each public name in full, with what it names; modules and what another public module names are left out."""
    listed: set[int] = set()
    for place in (*modules()[1:], modules()[0]):
        module = import_module(place)
        for name in public_names(module):
            found = getattr(module, name)
            if not inspect.ismodule(found) and id(found) not in listed:
                listed.add(id(found))
                yield f"{place}.{name}", found


def lines() -> list[str]:
    """The list: functions and classes with their parameters, methods and properties, constants by their type."""
    homes: dict[int, str] = {}
    found: list[str] = []
    for place in (*modules()[1:], modules()[0]):
        module = import_module(place)
        for name in public_names(module):
            thing = getattr(module, name)
            full = f"{place}.{name}"
            if inspect.ismodule(thing):
                found.append(f"{full}: module")
            elif id(thing) in homes:
                found.append(f"{full} = {homes[id(thing)]}")
            else:
                if callable(thing):
                    homes[id(thing)] = full
                found += _described(full, thing)
    return sorted(found)


def _described(name: str, found: Any) -> list[str]:
    if inspect.isclass(found):
        protocol = getattr(found, "_is_protocol", False)
        own = [f"{name}: protocol" if protocol else f"{name}{_signature(found)}"]
        for member in sorted(_members(found)):
            value = inspect.getattr_static(found, member)
            if isinstance(value, (staticmethod, classmethod)):
                own.append(f"{name}.{member}{_signature(getattr(found, member))}")
            elif inspect.isfunction(value):
                own.append(f"{name}.{member}{_signature(value)}")
            elif isinstance(value, property) or type(value).__name__ == "cached_property":
                own.append(f"{name}.{member}: property")
        return own
    if inspect.isfunction(found):
        return [f"{name}{_signature(found)}"]
    return [f"{name}: {'str' if isinstance(found, str) and name.endswith('__version__') else type(found).__name__}"]


def _members(of: type) -> set[str]:
    """Public methods and properties that a class has from crosshead, inherited ones included."""
    own = [base for base in of.__mro__ if base.__module__.partition(".")[0] == "crosshead"]
    return {name for base in own for name in vars(base) if not name.startswith("_")}


def _signature(of: Any) -> str:
    try:
        signature = inspect.signature(of)
    except (TypeError, ValueError):
        return "(…)"
    bare = [one.replace(annotation=inspect.Parameter.empty) for one in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))


def main() -> int:
    """Write the list; without PyTorch the names that need it stay as they are."""
    left_out = tuple(f"{module}." for module in set(TORCH_MODULES) - set(modules()))
    kept = [line for line in FILE.read_text(encoding="utf-8").splitlines() if left_out and line.startswith(left_out)]
    FILE.write_text("\n".join(sorted({*lines(), *kept})) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
