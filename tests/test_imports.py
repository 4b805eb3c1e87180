"""Imports go one way: between packages in the order that is listed here, and at the head of the modules."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "crosshead"

# A package imports only those before it, so that there is no circle:
# losses, penalties → engines → curvature, objective → solvers → linear → evaluation, explain, nn, models, … → cli.
ORDER = (
    "_native",
    "escaping",
    "atomic_files",
    "sparse_structure",
    "losses",
    "penalties",
    "scaling",
    "data",
    "engines",
    "curvature",
    "objective",
    "solvers",
    "linear",
    "evaluation",
    "explain",
    "nn",
    "models",
    "backbones",
    "export",
    "diagnostics",
    "report",
    "studio",
    "cli",
    "__main__",
)

# Imports inside a function, by file and module: what they import is heavy or optional.
IN_FUNCTIONS = {
    ("backbones/cnn_backbone.py", "crosshead.nn.training.network"): "loads PyTorch, for models with a network only",
    ("engines/__init__.py", "crosshead.engines.native"): "needs the C++ extension, which may be missing",
    ("engines/coordinate_descent.py", "crosshead._native"): "the C++ extension may be missing",
    ("engines/row_descent.py", "crosshead._native"): "the C++ extension may be missing",
    ("nn/backends/__init__.py", "crosshead.nn.backends"): "Triton is loaded for tensors on a GPU only",
    ("nn/heads/convert.py", "crosshead.linear"): "loads scikit-learn, which heads do without",
    ("models/summary.py", "crosshead.nn.training.network"): "loads PyTorch, for models with a network only",
}


class Import(NamedTuple):
    """An import of one of our own modules, and whether it is inside a function."""

    file: str
    module: str
    in_function: bool

    @property
    def package(self) -> str:
        return self.file.partition("/")[0].removesuffix(".py")

    @property
    def imported(self) -> str:
        return self.module.split(".")[1]


@cache
def imports() -> tuple[Import, ...]:
    """All imports of our own modules, those for type checkers alone included."""
    return tuple(
        found
        for path in sorted(PACKAGE.rglob("*.py"))
        if path != PACKAGE / "__init__.py"  # it names what the packages below it offer, and loads them when asked
        for found in _imports(ast.parse(path.read_text(encoding="utf-8")), path.relative_to(PACKAGE).as_posix())
    )


def _imports(node: ast.AST, file: str, in_function: bool = False) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        for module in _modules(child):
            yield Import(file, module, in_function)
        inner = in_function or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _imports(child, file, inner)


def _modules(node: ast.AST) -> list[str]:
    names = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports name their module in full"
        below = node.module == "crosshead"
        names = [f"crosshead.{alias.name}" for alias in node.names] if below else [node.module or ""]
    return [name for name in names if name.startswith("crosshead.")]


def test_the_order_names_every_package() -> None:
    there = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert there - {"__init__", "__pycache__"} <= set(ORDER)
    assert len(imports()) > 500


def test_packages_import_only_those_before_them() -> None:
    place = {name: number for number, name in enumerate(ORDER)}
    wrong = {
        (one.package, one.imported): one.file
        for one in imports()
        if one.package != one.imported and place[one.imported] > place[one.package]
    }
    assert not wrong


def test_imports_inside_functions_are_of_what_is_heavy_or_optional() -> None:
    inside = {(one.file, one.module) for one in imports() if one.in_function}
    others = {one for one in inside if not one[0].startswith("cli/")}  # `tests/cli/test_layout.py` has those
    assert not others - set(IN_FUNCTIONS)
    assert set(IN_FUNCTIONS) <= inside, "an exception that is no longer needed"
