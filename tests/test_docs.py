"""What the pages of the site show is what the program says, and the site names everything that is public.

A page's blocks run in their order, in an empty folder: `python` blocks share their names, an `output` block after one
is what it prints, and `console` blocks are command lines with what they print. `...` stands for anything. A page that
says `% needs: torch` runs where that package is installed; `text` and `sh` blocks do not run.
"""

from __future__ import annotations

import ast
import contextlib
import doctest
import io
import re
import shlex
import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest

from crosshead.cli.main import main

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted([*DOCS.glob("*.md"), *DOCS.glob("tutorials/*.md"), *DOCS.glob("how-to/*.md")])
PAGES += [DOCS / "explanation" / "certificates.md"]
EXAMPLES = sorted(DOCS.glob("gallery/*/plot_*.py"))
BLOCK = re.compile(r"^```(python|output|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE  # the columns of a command's table are as wide as its contents
CHECKER = doctest.OutputChecker()


def needs(text: str) -> list[str]:
    return [package for line in re.findall(r"^% needs: (.*)$", text, re.MULTILINE) for package in line.split()]


def page_name(path: Path) -> str:
    return str(path.relative_to(DOCS))


@pytest.fixture
def threads():
    """As many of PyTorch's threads afterwards as before."""
    if find_spec("torch") is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(
    "page", [path for path in PAGES if BLOCK.search(path.read_text(encoding="utf-8"))], ids=page_name
)
def test_the_blocks_of_a_page_run(page, tmp_path, monkeypatch, capsys):
    text = page.read_text(encoding="utf-8")
    for package in needs(text):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    blocks = BLOCK.findall(text)
    for place, (language, block) in enumerate(blocks):
        if language == "console":
            run_commands(block, capsys)
        elif language == "python":
            shown = blocks[place + 1][1] if place + 1 < len(blocks) and blocks[place + 1][0] == "output" else ""
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(block, f"{page_name(page)}, block {place + 1}", "exec"), names)
            assert CHECKER.check_output(shown, printed.getvalue(), FLAGS), f"{block}\nprints\n{printed.getvalue()}"
        else:
            assert place > 0
            assert blocks[place - 1][0] == "python", f"no python block before:\n{block}"


def run_commands(block, capsys):
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        line, _, output = part.partition("\n")
        name, *arguments = shlex.split(line)
        assert name == "crosshead"
        capsys.readouterr()
        code = main(arguments)
        captured = capsys.readouterr()
        assert code == 0, (line, captured.err)
        assert CHECKER.check_output(output, captured.out, FLAGS), f"$ {line}\n{captured.out}"


def test_there_are_enough_examples_and_each_says_what_it_is():
    assert len(EXAMPLES) >= 15
    for path in EXAMPLES:
        module = ast.parse(path.read_text(encoding="utf-8"))
        title, ruler, *rest = (ast.get_docstring(module) or "").splitlines()
        assert set(ruler) == {"="}, path
        assert len(ruler) >= len(title), path
        assert any(line.strip() for line in rest), path
        assert "http" not in path.read_text(encoding="utf-8"), path


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_import_what_is_public(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("crosshead"):
            assert node.module in reference().PACKAGES, f"{node.module} is not in the reference"


def reference():
    """The extension that writes the reference."""
    import importlib.util

    found = importlib.util.spec_from_file_location("docs_reference", DOCS / "_ext" / "reference.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_every_package_with_public_names_is_in_the_reference():
    source = DOCS.parent / "src"
    declared = {
        ".".join(path.parent.relative_to(source).parts)
        for path in source.glob("crosshead/**/__init__.py")
        if re.search(r"^__all__ = ", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    inner = {package for package in declared if ".cli" in package}
    module = reference()
    missing = declared - inner - module.NOT_PUBLIC - set(module.PACKAGES)
    assert missing == set(), "name them in PACKAGES, or in NOT_PUBLIC, in docs/_ext/reference.py"


def test_every_command_has_a_page():
    module = reference()
    names = module.command_names()
    assert {"fit", "predict", "evaluate", "explain"} <= set(names)
    assert "Usage: crosshead fit" in module.command_help("fit")


def test_every_public_name_has_a_docstring():
    pytest.importorskip("torch")
    from importlib import import_module

    module = reference()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        missing = [
            f"{package}.{name}"
            for package, names in module.documented().items()
            for name in names
            if module.kind(package, name) in ("Classes", "Functions")
            and not (getattr(import_module(package), name).__doc__ or "").strip()
        ]
    assert missing == []


@pytest.mark.parametrize("page", sorted(DOCS.glob("**/*.md")), ids=page_name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!http|#|mailto)([^)#]+)", page.read_text(encoding="utf-8")):
        generated = re.match(r"(?:\.\./|)*(?:examples|reference)/(.*)\.rst", target)
        if generated:
            if "examples/" in target and "plot_" in target:
                source = target.split("examples/")[1].removesuffix(".rst")
                assert (DOCS / "gallery" / f"{source}.py").is_file(), target
            continue
        assert (page.parent / target).exists(), f"{page_name(page)}: {target}"


@pytest.mark.parametrize("path", sorted(DOCS.glob("**/*.svg")), ids=page_name)
def test_pictures_are_small(path):
    assert path.stat().st_size <= 60_000


@pytest.mark.parametrize(
    ("page", "elsewhere"),
    [
        ('<a href="https://example.org">a link</a> <img src="_images/a.png">', False),
        ('<script defer src="https://example.org/a.js"></script>', True),
        ('<link rel="stylesheet" href="//example.org/a.css">', True),
        ('<link href="https://example.org/a.woff2" as="font" rel="preload">', True),
        ('<img alt="a" src="http://example.org/a.png">', True),
    ],
)
def test_the_check_of_the_site_sees_what_is_loaded_from_elsewhere(page, elsewhere, tmp_path):
    import check_site  # type: ignore[import-not-found]

    (tmp_path / "index.html").write_text(page, encoding="utf-8")
    assert bool(list(check_site.loaded_from_elsewhere(tmp_path))) == elsewhere


def test_the_citation_names_this_version():
    import constraints  # type: ignore[import-not-found]

    citation = (DOCS.parent / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {constraints.project()['project']['version']}\n" in citation
