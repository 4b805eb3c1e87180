"""How the packages of crosshead.nn depend on each other, and what its modules take."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

from crosshead import nn

HOME = Path(nn.__file__).parent
ORDER = ["row_losses", "backends", "fused", "losses", "functional", "modules", "heads", "optim", "training", "parallel"]
"""Each imports those before it only."""
DELAYED = {"crosshead.linear", "crosshead.nn.backends"}
"""What is imported inside a function, because it is heavy: scikit-learn, and Triton's kernels."""


def test_modules_show_their_parameters():
    for name in nn.__all__:
        if name.endswith("Loss"):
            parameters = inspect.signature(getattr(nn, name)).parameters
            function = inspect.signature(getattr(nn, name).function).parameters
            options = {key: one.default for key, one in function.items() if one.kind is one.KEYWORD_ONLY}
            del options["linear_bias"]
            assert {key: parameters[key].default for key in options} == options
            assert set(parameters) - set(options) == {"in_features", "num_classes", "bias", "device", "dtype"}


def imports(tree: ast.AST) -> set[str]:
    """The modules of crosshead that a piece of code imports, outside of ``if TYPE_CHECKING``."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("crosshead"):
            found.add(node.module)
            found |= {f"{node.module}.{one.name}" for one in node.names if (HOME / one.name).exists()}
        elif isinstance(node, ast.Import):
            found |= {one.name for one in node.names if one.name.startswith("crosshead")}
    return found


def test_imports_go_one_way():
    for file in HOME.rglob("*.py"):
        package = file.relative_to(HOME).parts[0].removesuffix(".py")
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for module in imports(tree):
            part = module.removeprefix("crosshead.nn.").split(".")[0]
            if package in ORDER and module.startswith("crosshead.nn.") and part in ORDER:
                assert ORDER.index(part) <= ORDER.index(package), f"{file} imports {module}"


def test_only_heavy_packages_are_imported_in_functions():
    for file in HOME.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                assert imports(node) <= DELAYED, f"{file}, {node.name}"
