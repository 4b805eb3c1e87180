"""What the arithmetic pages show, in English and in Chinese, is what the program says."""

from __future__ import annotations

import doctest
import re
import shlex
from pathlib import Path

import pytest

from crosshead.cli.main import main

FOLDER = Path(__file__).parents[1] / "docs" / "explanation"
PAGES = {name: (FOLDER / name).read_text(encoding="utf-8") for name in ("arithmetic.md", "arithmetic.zh.md")}

ROWS_OF_THE_TABLE = {
    "flatten": ["--shape 100,4,4 --classes 7", "1600", "7 × 1600"],
    "softmax": ["--scores 1,2,3", "0.0900", "0.244728", "0.665241"],
    "cross-entropy": ["0.1,0.15,0.05,0.6,0.1 --target 3", "0.5108", "2.3026", "1.2040", "sum to 2.0"],
    "distribution": ["--target 1,0,0", "0.693147", "0.223144"],
    "entropy": ["63/64,1/64 --loss entropy --base 2", "0.1161", "0.1164"],
    "two models": [".3,.3,.4 --target 2", "0.8067", "0.34", "1.796", "0.833", "0.697", "4.135", "1.917"],
    "hinge": ["3.2,5.1,-1.7 --target 0", "2.9", "12.9", "5.2667", "83.25", "166.41", "--weights 2.6"],
    "penalties": ["--weights 1,0,0,0 --weights 1/4,1/4,1/4,1/4", "0.25"],
    "gradients": ["--jacobian", "p_i·(δ_ij − p_j)", "p_c − y_c", "(p − y) xᵀ", "--loss mse"],
    "first loss": ["--scores 0,0,0", "ln C", "C − 1", "crosshead check"],
}


@pytest.fixture(params=PAGES)
def page(request):
    return PAGES[request.param]


def blocks(page: str, language: str) -> list[str]:
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", page, re.MULTILINE | re.DOTALL)
    return ["\n".join(line.removeprefix(indent) for line in block.split("\n")) for indent, block in found]


def commands(page: str) -> list[tuple[str, str]]:
    """Command lines, each with the output that the page shows below it."""
    found = []
    for block in blocks(page, "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, _, output = part.partition("\n")
            found.append((line, output.rstrip("\n") + "\n"))
    return found


def test_the_commands_print_what_the_page_shows(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    checker = doctest.OutputChecker()
    assert len(commands(page)) > 25
    for line, expected in commands(page):
        arguments = shlex.split(line)
        assert arguments[0] == "crosshead"
        capsys.readouterr()
        code = main(arguments[1:])
        captured = capsys.readouterr()
        refused = expected.startswith("crosshead: error:")
        assert code == (2 if refused else 0), (line, captured.err)
        found = captured.err if refused else captured.out
        assert checker.check_output(expected, found, doctest.ELLIPSIS), f"$ {line}\n{found}"


def test_the_python_examples_run(page):
    names: dict[str, object] = {}
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    assert len(blocks(page, "python")) >= 7
    for place, block in enumerate(blocks(page, "python")):
        test = parser.get_doctest(block, names, f"arithmetic.md, example {place + 1}", "arithmetic.md", 0)
        assert runner.run(test, clear_globs=False).failed == 0
        names.update(test.globs)


@pytest.mark.parametrize("row", ROWS_OF_THE_TABLE)
def test_every_teaching_number_is_on_the_page(row, page):
    for text in ROWS_OF_THE_TABLE[row]:
        assert text in page


def test_both_pages_have_the_same_examples_and_sections():
    english, chinese = PAGES.values()
    import translated_blocks  # type: ignore[import-not-found]

    assert translated_blocks.renewed(chinese, english) == chinese, "run python tools/translated_blocks.py"
    headings = [len(re.findall(r"^## ", page, re.MULTILINE)) for page in PAGES.values()]
    assert headings[0] == headings[1]
