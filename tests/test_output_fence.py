"""All output passes the few places that escape it: this reads the source for ways around them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import crosshead

assert crosshead.__file__ is not None
SOURCE = Path(crosshead.__file__).parent

STDOUT, STDERR = "cli/output.py", "cli/errors.py"
NUMBERS_ONLY = ("linear/training.py", "linear/classifier_cv.py")  # verbose=1 prints counts and objectives to stderr

ALLOWED = {
    "print": (STDOUT, STDERR, *NUMBERS_ONLY),
    "sys.stdout": (STDOUT, "cli/start.py"),  # start.py sets how the streams encode
    "sys.stderr": (
        STDERR,
        "cli/start.py",
        "cli/progress.py",
        *NUMBERS_ONLY,
    ),  # the monitor asks whether it is a terminal
    "sys.__stdout__": (),
    "sys.__stderr__": (),
    "os.write": (),
    "typer.echo": (),
    "typer.secho": (),
    "click": (),
    "rich.console": ("cli/progress.py",),  # draws one line of `for_terminal`
    "rich.live": ("cli/progress.py",),
    "rich.markup": (),
    "rich.print": (),
    "rich.table": (),
    "html": ("escaping.py",),
    "xml": (),
    "markupsafe": ("report/page/render.py",),  # marks what `for_html` and matplotlib escaped
    "jinja2.Environment": ("report/page/render.py",),  # whose finalize escapes
    "csv.writer": (STDOUT,),
    "csv.DictWriter": (),
    "traceback.print_exception": (),
    "traceback.print_exc": (),
    "pprint": (),
}
"""Names that put text before a person, or mark it up, and the files that may use them."""


def used_names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every dotted name in a module and every name that it imports, each with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Name):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute):
            yield ast.unparse(node), node.lineno


def ways_around(text: str, file: str) -> list[str]:
    """The uses in a file that `ALLOWED` does not name."""
    return [
        f"{file}:{line}: {name}"
        for name, line in used_names(ast.parse(text))
        for banned, allowed in ALLOWED.items()
        if (name == banned or name.startswith(f"{banned}.")) and file not in allowed
    ]


def test_all_output_passes_the_fence():
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        found += ways_around(path.read_text(encoding="utf-8"), path.relative_to(SOURCE).as_posix())
    assert not found, "escape this by crosshead.escaping, or print it by crosshead.cli.output: " + "; ".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "print(1)",
        "import sys\nsys.stdout.write(name)",
        "from sys import stdout",
        "import typer\ntyper.echo(name)",
        "from html import escape",
        "import html.entities",
        "from csv import writer",
        "import csv\nrows = csv.writer(stream)",
        "from rich.console import Console",
        "show = print",
    ],
)
def test_the_fence_sees_a_way_around(text):
    assert ways_around(text, "cli/new_command.py")


@pytest.mark.parametrize(
    "text", ["# print(name)", "'''print(name)'''", "self.print(name)", "import csv\ncsv.reader(s)"]
)
def test_the_fence_lets_others_pass(text):
    assert not ways_around(text, "cli/new_command.py")


def test_no_file_is_allowed_in_vain():
    for banned, allowed in ALLOWED.items():
        for file in allowed:
            names = {name for name, _ in used_names(ast.parse((SOURCE / file).read_text(encoding="utf-8")))}
            assert any(name == banned or name.startswith(f"{banned}.") for name in names), (banned, file)


def test_templates_escape_all_but_what_is_marked():
    """`safe` in a template is for constants: a line break between commands."""
    for path in SOURCE.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert text.count("safe") == text.count('{{ "\\n" | safe }}')
        assert "autoescape" not in text
