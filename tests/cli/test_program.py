"""The program as the shell sees it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import crosshead.cli.main
from crosshead.cli import options
from crosshead.cli.main import app, main
from crosshead.engines import ENGINES
from crosshead.losses import LOSSES
from crosshead.scaling import ScalingKind


@pytest.fixture(autouse=True)
def same_crosshead(monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs started here import the package that is tested here, whatever their folder."""
    home = Path(crosshead.cli.main.__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", str(home))


def program(*arguments: str, folder: Path, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "crosshead", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def test_the_choices_are_those_of_the_library():
    assert tuple(LOSSES) == options.LOSSES
    assert get_args(ScalingKind) == options.SCALINGS
    assert ENGINES == options.ENGINES


def test_version(crosshead):
    result = crosshead("--version")
    assert result.code == 0
    assert result.out.startswith("crosshead ")
    assert "engine" in result.out


@pytest.mark.parametrize("arguments", [[], ["--help"], ["fit", "--help"], ["predict", "--help"], ["compare", "--help"]])
def test_help_goes_to_stdout(crosshead, arguments):
    result = crosshead(*arguments)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("Usage: crosshead")


COMMANDS = [str(command.name) for command in app.registered_commands]


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS), ["--version"]])
def test_help_loads_nothing_heavy(tmp_path, arguments):
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "crosshead", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    heavy = {"sklearn", "pyarrow", "torch", "matplotlib", "pandas", "onnx", "onnxruntime", "PIL", "joblib"}
    assert not loaded & (heavy if "--version" in arguments else heavy | {"numpy", "scipy"})


def test_results_on_stdout_messages_on_stderr(tmp_path):
    done = program("fit", "iris", "--max-iter", "2", folder=tmp_path)
    assert done.returncode == 0
    assert "saved in" in done.stdout
    assert done.stderr.startswith("crosshead: warning: NOT certified")
    assert "\x1b" not in done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_mistake_is_one_line(tmp_path):
    done = program("fit", "nowhere.csv", folder=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("crosshead: error: nowhere.csv: no such file")
    assert len(done.stderr.splitlines()) == 1


def test_letters_that_the_terminal_lacks(tmp_path):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = program("fit", "iris", "--scale", "standard", folder=tmp_path, env=environment)
    assert done.returncode == 0
    assert "\\u2264" in done.stdout


def test_a_reader_that_leaves_early(tmp_path):
    assert program("fit", "digits", "--scale", "maxabs", folder=tmp_path).returncode == 0
    with subprocess.Popen(
        [sys.executable, "-m", "crosshead", "predict", "digits-model", "digits", "--proba"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("row,predicted")
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 1


def test_run_is_the_console_script(tmp_path: Path):
    code = "import sys; sys.argv = ['crosshead', '--help']; from crosshead.cli.start import run; run()"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: crosshead" in done.stdout


def test_main_reads_the_command_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["crosshead", "--version"])
    assert main() == 0
    assert capsys.readouterr().out.startswith("crosshead ")


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_failure(tmp_path: Path, redirection: str):
    """Whatever is opened next must not take the closed stream's number, or messages end up in a file of ours."""
    (tmp_path / "t.csv").write_text("a,y\n1,u\n2,v\n3,u\n4,v\n")
    command = f"{sys.executable} -m crosshead fit t.csv --output model {redirection}"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "README.md",
        "model.json",
        "model.safetensors",
    ]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_under_stdout(unbuffered: str, tmp_path: Path):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "crosshead", "explain", "--scores", "1,2", "--target", "0"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("crosshead: error: No space left on device; free some space")
    assert len(done.stderr.splitlines()) == 1
