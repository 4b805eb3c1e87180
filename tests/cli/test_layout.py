"""Who imports whom within the command line, and the routes through the code that docs/development/routes.md names."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import crosshead.cli

SOURCE = Path(crosshead.cli.__file__).parent
ROOT = SOURCE.parents[2]
LATE = {
    "cli/command.py": {"crosshead.data.memmap"},  # `--help` need not wait for it
    "cli/engine.py": {"crosshead"},  # its native module, which need not be built
    "cli/errors.py": {"crosshead.data.errors", "crosshead.models"},  # nor for these
    "cli/main.py": {"crosshead.cli.engine"},
    "cli/output.py": {"crosshead.models.json_document"},
    "cli/progress.py": {"rich.console", "rich.live", "rich.text"},
    "cli/start.py": {"crosshead.cli.errors", "crosshead.cli.main"},  # before it, signals are set up
    "cli/commands/fit/network.py": {"torch"},
    "cli/commands/fit/run.py": {"crosshead.cli.commands.fit.network"},  # loads PyTorch
}
"""The modules that functions import, by file."""


def files() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(SOURCE.parent).as_posix()


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)


def test_no_command_borrows_from_another():
    found = []
    for path in files():
        own = path.relative_to(SOURCE).parts
        for module in imports(ast.parse(path.read_text(encoding="utf-8"))):
            command = re.match(r"crosshead\.cli\.commands\.(\w+)", module)
            is_own = command is not None and own[:2] == ("commands", command[1])
            if command is not None and not is_own and path.name != "main.py":
                found.append(f"{name_of(path)} imports {module}")
    assert not found


def test_functions_import_only_what_must_come_late():
    for path in files():
        found = set()
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef):
                found |= set(imports(function))
        if path.name == "__init__.py" and path.parent.parent.name == "commands":
            assert found <= {f"crosshead.cli.commands.{path.parent.name}.run"}, name_of(path)
        else:
            assert found == LATE.get(name_of(path), set()), name_of(path)


@pytest.mark.parametrize("number", [0, 1])
def test_routes_are_short(number):
    text = (ROOT / "docs" / "development" / "routes.md").read_text(encoding="utf-8").split("\n## ")[1 + number]
    route = re.findall(r"^\d\. `([^`]+)`", text, re.MULTILINE)
    assert 2 <= len(route) <= 7
    assert len(set(route)) == len(route)
    assert all((ROOT / file).is_file() for file in route)
