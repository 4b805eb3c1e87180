from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from crosshead.cli.main import main


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The single line of a refusal."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert self.out == ""
        assert "Traceback" not in self.err
        return lines[0]


Crosshead = Callable[..., Outcome]


@pytest.fixture
def crosshead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Crosshead:
    """Run a command line in an empty folder of its own, in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CROSSHEAD_DEBUG", raising=False)

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    """A table of two features and a target column, two classes that a line separates."""
    rows = [(x, y, "rose" if x > y else "lily") for x in range(6) for y in range(6) if x != y]
    path = tmp_path / "flowers.csv"
    path.write_text("height,width,kind\n" + "".join(f"{x},{y},{kind}\n" for x, y, kind in rows))
    return path


@pytest.fixture
def blobs() -> tuple[np.ndarray, np.ndarray]:
    """Three well separated classes in four features."""
    generator = np.random.default_rng(5)
    target = np.arange(60) % 3
    return generator.normal(size=(60, 4)) + 4 * np.eye(3, 4)[target], target
