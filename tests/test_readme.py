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
    return [line for line in lines if line.startswith("crosshead ")]


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


@pytest.mark.parametrize("heading", ["In Python", "In PyTorch"])
def test_the_python_tours_print_what_is_shown(heading, tmp_path, monkeypatch):
    if heading == "In PyTorch":
        pytest.importorskip("torch")
    section = README.split(f"## {heading}\n")[1].split("\n## ")[0]
    (tour,) = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    (output,) = re.findall(r"^```output\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert crosshead.__file__ is not None
    monkeypatch.setenv("PYTHONPATH", str(Path(crosshead.__file__).parents[1]))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", tour], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == output


@pytest.mark.usefixtures("threads")
def test_the_command_lines_run_in_their_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command_lines()
    told = ""
    for line in command_lines():
        code = main(shlex.split(line, comments=True)[1:])
        err = capsys.readouterr().err
        assert code == 0, (line, err)
        told += err
    assert "warning" not in told


def test_the_figure_is_there_for_light_and_dark():
    named = re.findall(r'(?:src|srcset)="([^"]+)"', README)
    assert [Path(name).stem for name in named] == ["time-to-optimum-dark", "time-to-optimum-light"]
    assert all((ROOT / name).is_file() for name in named)


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
