"""The stub of the native module says what the module has: its functions, their parameters and which may be None."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

native: Any = pytest.importorskip("crosshead._native", reason="the native engine is not built")

import crosshead  # noqa: E402

STUB = ast.parse((Path(str(crosshead.__file__)).parent / "_native.pyi").read_text(encoding="utf-8"))
STUBBED = {node.name: node for node in STUB.body if isinstance(node, ast.FunctionDef)}
BUILT = {name: thing for name, thing in vars(native).items() if hasattr(thing, "__nb_signature__")}


def parameters(node: ast.FunctionDef) -> list[tuple[str, bool]]:
    """Names, and whether None is allowed; names that the binding does not give are ""."""
    found = []
    for argument in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]:
        unnamed = argument.arg == "arg" or (argument.arg.startswith("arg") and argument.arg[3:].isdigit())
        optional = argument.annotation is not None and ast.unparse(argument.annotation).endswith("| None")
        found.append(("" if unnamed else argument.arg, optional))
    return found


def as_built(name: str) -> ast.FunctionDef:
    """The signature that the binding states, as a stub."""
    text = str(BUILT[name].__nb_signature__[0][0])
    while "ndarray[" in text:  # whose parameters are no Python
        start = text.index("ndarray[")
        text = f"{text[:start]}Array{text[text.index(']', start) + 1 :]}"
    node = ast.parse(f"{text}: ...").body[0]
    assert isinstance(node, ast.FunctionDef)
    return node


def test_it_names_what_is_there() -> None:
    assert set(STUBBED) == {name for name, thing in BUILT.items() if not isinstance(thing, type)}
    classes = {node.name for node in STUB.body if isinstance(node, ast.ClassDef)}
    assert classes == {name for name, thing in vars(native).items() if isinstance(thing, type)}


@pytest.mark.parametrize("name", sorted(STUBBED))
def test_parameters_are_those_of_the_binding(name: str) -> None:
    stated, built = parameters(STUBBED[name]), parameters(as_built(name))
    assert len(stated) == len(built)
    for (stub_name, stub_optional), (built_name, built_optional) in zip(stated, built, strict=True):
        assert built_name in ("", stub_name)
        assert stub_optional == built_optional, stub_name
