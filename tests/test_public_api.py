"""The public names: their signatures are those of a committed list, and each is documented, with an example."""

from __future__ import annotations

import inspect
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import public_api  # noqa: E402

OBJECTS = dict(public_api.public_objects())

# Names without an example so far. The list must only become shorter.
# Results and errors: the example is that of the function that returns or raises them.
WITHOUT_EXAMPLE = frozenset(
    f"crosshead.{name}"
    for name in (
        "diagnostics.Diagnosis",
        "diagnostics.Finding",
        "models.Calibrated",
        "models.Measures",
        "models.SeenRows",
        "models.Stage",
        "models.Summary",
        "nn.training.CheckpointError",
        "nn.training.DivergedError",
        "nn.training.LastLayerFit",
        "nn.training.LayerMeasures",
        "nn.training.ResumeWarning",
    )
)


def described(thing: Any) -> bool:
    """Whether a name is one to be documented: constants and aliases of types have no docstring of their own."""
    return inspect.isclass(thing) or inspect.isfunction(thing)


def own_docstring(thing: Any) -> str:
    """The docstring, not that of a base class nor the one that `dataclass` makes of the fields."""
    text = str(vars(thing).get("__doc__") or "") if inspect.isclass(thing) else str(thing.__doc__ or "")
    return "" if inspect.isclass(thing) and text.startswith(f"{thing.__name__}(") else text


def test_the_committed_list_is_that_of_the_code() -> None:
    committed = public_api.FILE.read_text(encoding="utf-8").splitlines()
    if find_spec("torch") is None:
        committed = [line for line in committed if not line.startswith("crosshead.nn.")]
    found = public_api.lines()
    new, gone = sorted(set(found) - set(committed)), sorted(set(committed) - set(found))
    assert not new, f"not in tests/public_api.txt; if they are meant, run python tools/public_api.py: {new}"
    assert not gone, f"in tests/public_api.txt, but no longer public: {gone}"
    assert committed == sorted(set(committed))


@pytest.mark.parametrize("name", [name for name, thing in OBJECTS.items() if described(thing)])
def test_every_public_name_is_documented_with_an_example(name: str) -> None:
    text = own_docstring(OBJECTS[name])
    assert text.strip(), f"{name} has no docstring"
    assert (">>>" in text) == (name not in WITHOUT_EXAMPLE), f"{name} has no example, or is listed as one without"


def test_methods_and_properties_of_public_classes_are_documented() -> None:
    for name, thing in OBJECTS.items():
        for member in public_api._members(thing) if inspect.isclass(thing) else ():
            value = inspect.getattr_static(thing, member)
            value = getattr(value, "__func__", getattr(value, "fget", getattr(value, "func", value)))
            protocol = getattr(thing, "_is_protocol", False)
            if inspect.isfunction(value) and not protocol:
                assert (value.__doc__ or inspect.getdoc(getattr(thing, member)) or "").strip(), f"{name}.{member}"
