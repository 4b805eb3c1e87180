"""The pictures: `python plots.py RESULTS` draws one SVG a workload. Runs in the environment "report"."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl

from curves import points
from optimum import Optima, Optimum
from peers import PEERS
from problems import WORKLOADS, Workload
from records import Records

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "crosshead"  # the same picture from the same rows
mpl.rcParams["svg.fonttype"] = "none"  # letters as letters, which any viewer draws: half the size
mpl.rcParams["font.sans-serif"] = ["DejaVu Sans", "Verdana", "Arial"]

from matplotlib import pyplot as plt  # noqa: E402

LOWEST = 1e-9
TARGETS = (1e-2, 1e-4, 1e-6)
MARKERS = "osD^v<>P*hXpd"


def draw(workload: Workload, optimum: Optimum, records: Records, path: Path) -> None:
    """Relative suboptimality against seconds, log–log, with the spread over repeats."""
    figure, axes = plt.subplots(figsize=(7.5, 5), layout="constrained")
    colours = mpl.colormaps["tab20"].resampled(20)(range(len(PEERS)))
    for place, solver in enumerate(PEERS):
        curve = points(records.of(workload.name, solver), optimum)
        if not curve:
            continue
        seconds = [point.seconds for point in curve]
        spread = [
            [point.seconds - point.fastest for point in curve],
            [point.slowest - point.seconds for point in curve],
        ]
        axes.errorbar(
            seconds,
            [max(point.suboptimality, LOWEST) for point in curve],
            xerr=spread,
            label=solver,
            marker=MARKERS[place % len(MARKERS)],
            markersize=4,
            linewidth=2.4 if place == 0 else 1.2,
            color=colours[place],
            zorder=3 if place == 0 else 2,
        )
    for target in TARGETS:
        axes.axhline(target, color="0.85", linewidth=0.8, zorder=0)
    if optimum.gap > LOWEST:
        axes.axhspan(LOWEST, optimum.gap, color="0.93", zorder=0)
        axes.annotate("optimum not certified closer", (0.01, optimum.gap), xycoords=("axes fraction", "data"),
                      fontsize=7, va="top", color="0.4")  # fmt: skip
    axes.set(xscale="log", yscale="log", ylim=(LOWEST / 1.5, None), title=workload.title)
    axes.set(xlabel="seconds of the fit call", ylabel="relative suboptimality (F − F*) / F*")
    axes.legend(fontsize=8, frameon=False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    results = Path(sys.argv[1])
    records, optima = Records(results), Optima(results)
    for workload in WORKLOADS:
        optimum = optima.get(workload.name)
        if optimum is not None and any(not row.failed for row in records if row.workload == workload.name):
            draw(workload, optimum, records, results / f"{workload.name}.svg")


if __name__ == "__main__":
    main()
