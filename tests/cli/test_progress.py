from __future__ import annotations

import io
import sys

import numpy as np
import pytest

from crosshead.cli.progress import Monitor, closeness
from crosshead.solvers import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


@pytest.mark.parametrize("columns", [40, 100])
def test_one_line_on_a_terminal(terminal, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    with Monitor(1e-4) as monitor:
        monitor.stage("reading digits")
        assert monitor._line(columns).plain.startswith("reading digits")
        monitor.detail("read 5 of 9")
        assert monitor._line(columns).plain.startswith("read 5 of 9")
        assert monitor(Progress(1, 2, 0.1, 0.5, 1.0)) is False
        monitor(Progress(2, 3, 0.2, 0.25, 1e-2))
        line = monitor._line(columns).plain
    assert "pass 3  gap 1.0e-02 → 1.0e-04" in line
    assert ("━" * 10 + "╌" * 10 in line) is (columns == 100)


def test_nothing_where_stderr_is_no_terminal(capsys):
    with Monitor(1e-4) as monitor:
        monitor.stage("reading digits")
        monitor(Progress(1, 2, 0.1, 0.5, 1.0))
    assert capsys.readouterr().err == ""


def test_an_unknown_gap(terminal):
    monitor = Monitor(1e-4)
    monitor(Progress(1, 2, 0.1, 0.5, np.inf))
    assert "gap unknown" in monitor._line(40).plain


def test_closeness_never_falls_as_the_gap_does():
    values = [closeness(3.0, gap, 1e-4) for gap in np.geomspace(10.0, 1e-6, 50)]
    assert values == sorted(values)
    assert (values[0], values[-1]) == (0.0, 1.0)


def test_results_go_to_stdout_also_while_a_terminal_shows_progress(terminal, crosshead):
    crosshead("fit", "iris", "--scale", "standard", "--output", "m")
    result = crosshead("predict", "m", "iris", "--proba")
    assert len(result.out.splitlines()) == 151
    assert "setosa" not in terminal.getvalue()
