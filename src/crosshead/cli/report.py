"""`crosshead report`: one page about a model, or about predictions of any tool."""

from __future__ import annotations

from crosshead.cli.command import command
from crosshead.cli.report_options import ReportOptions


@command
def report(chosen: ReportOptions) -> int:
    """Write one page that says how good a model or a set of predictions is, and why.

    The page is a single file that needs no network: verdict with intervals, training curves, confusion, calibration,
    class templates, the costliest rows, the arithmetic of a right and a wrong prediction, and how to make it again. The
    same input gives the same bytes.
    """
    from crosshead.cli.report_run import run

    return run(chosen)
