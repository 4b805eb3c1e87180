"""What the README shows runs as it stands."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import crosshead
from crosshead.cli.main import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def command_lines() -> list[str]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    lines = [line for line in lines if line.startswith("crosshead ") and "photos" not in line]
    return [line for line in lines if "cnn" not in line or find_spec("torch") is not None]


def without_numbers(text: str) -> str:
    return re.sub(r"\d[\d.]*(e[+-]?\d+)?", "#", text)


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


@pytest.mark.parametrize(("heading", "begins"), [("In Python", "certified\n"), ("In PyTorch", "torch.Size([64, 5])")])
def test_the_python_tours_run(heading, begins, tmp_path, monkeypatch):
    if heading == "In PyTorch":
        pytest.importorskip("torch")
    section = README.split(f"## {heading}\n")[1].split("\n## ")[0]
    (tour,) = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert crosshead.__file__ is not None
    monkeypatch.setenv("PYTHONPATH", str(Path(crosshead.__file__).parents[1]))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", tour], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(begins)


@pytest.mark.usefixtures("threads")
def test_the_command_lines_run_in_their_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command_lines()
    printed, told = "", ""
    for line in command_lines():
        code = main(shlex.split(line, comments=True)[1:])
        out, err = capsys.readouterr()
        assert code == 0, (line, err)
        printed, told = printed + without_numbers(out), told + err
    assert "warning" not in told
    if find_spec("torch") is not None:  # figures differ from machine to machine; all else is what is printed
        shown = [line for block in blocks("text") for line in block.splitlines()]
        assert len(shown) == 4
        assert [line for line in shown if without_numbers(line) not in printed] == []


@pytest.mark.parametrize("target", re.findall(r"\]\((?!http)([^)#]+)\)", README))
def test_links_lead_somewhere(target):
    assert (ROOT / target).exists()


def test_every_loss_is_listed():
    from crosshead.losses import LOSSES

    assert re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE) == list(LOSSES)


def test_both_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
