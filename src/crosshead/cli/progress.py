"""What long work shows on stderr while it runs; nothing at all where stderr is no terminal."""

from __future__ import annotations

import math
import sys
import time
from typing import TYPE_CHECKING, Any

from crosshead.escaping import for_terminal

if TYPE_CHECKING:
    from types import TracebackType

    from crosshead.solvers import Progress

WIDE = 72  # columns from which there is room for a bar
REFRESHES_A_SECOND = 8


class Monitor:
    """One line, redrawn in place: the stage of the work, and in a fit its passes, gap, objective and time.

    It is a context manager, and the callback of a fit.
    """

    def __init__(self, tol: float = 0.0, *, shown: bool = True) -> None:
        self.tol, self._shown = tol, shown
        self._stage, self._began = "", time.monotonic()
        self._latest: Progress | None = None
        self._first_gap = math.inf
        self._live: Any = None

    def __enter__(self) -> Monitor:
        if self._shown and sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            console = Console(stderr=True)
            self._live = Live(
                console=console,
                get_renderable=lambda: self._line(console.width),
                refresh_per_second=REFRESHES_A_SECOND,
                transient=True,
                redirect_stdout=False,  # it would send results to stderr
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def stage(self, text: str) -> None:
        """Say what is being done from now on."""
        self._stage, self._began, self._latest = text, time.monotonic(), None

    def detail(self, text: str) -> None:
        """Say how far the stage has come; its clock runs on."""
        self._stage = text

    def __call__(self, progress: Progress) -> bool:
        """Keep a fit's latest progress; never asks it to stop."""
        self._latest = progress
        if not math.isfinite(self._first_gap):
            self._first_gap = progress.gap
        return False

    def _line(self, width: int) -> Any:
        from rich.text import Text

        seconds = time.monotonic() - self._began
        if self._latest is None:
            line = f"{self._stage}  {seconds:.1f} s"
        else:
            bar = f"{_bar(closeness(self._first_gap, self._latest.gap, self.tol))} " if width >= WIDE else ""
            line = bar + progress_line(self._latest, self.tol, seconds)
        return Text(for_terminal(line), no_wrap=True, overflow="ellipsis")


def progress_line(progress: Progress, tol: float, seconds: float) -> str:
    """The most telling first: a narrow terminal cuts off the rest.

    Examples
    --------
    >>> from crosshead.solvers import Progress
    >>> progress_line(Progress(3, 4, 0.5, 0.25, 2e-3), 1e-4, 0.5)
    'pass 4  gap 2.0e-03 → 1.0e-04  0.5 s  objective 0.250000'
    """
    gap = f"{progress.gap:.1e}" if math.isfinite(progress.gap) else "unknown"
    return f"pass {progress.passes}  gap {gap} → {tol:.1e}  {seconds:.1f} s  objective {progress.objective:.6f}"


def closeness(first: float, gap: float, tol: float) -> float:
    """How far a gap has come from the first one to tol, on a logarithmic scale, from 0 to 1.

    Examples
    --------
    >>> closeness(1.0, 1e-2, 1e-4), closeness(1.0, 1e-5, 1e-4), closeness(float("inf"), 1.0, 1e-4)
    (0.5, 1.0, 0.0)
    """
    if not (math.isfinite(first) and tol > 0.0):
        return 0.0
    if gap <= tol:
        return 1.0
    return min(max(math.log(first / gap) / math.log(first / tol), 0.0), 1.0) if first > tol else 0.0


def _bar(fraction: float, width: int = 20) -> str:
    filled = round(fraction * width)
    return "━" * filled + "╌" * (width - filled)
