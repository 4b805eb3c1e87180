"""The figure of the README: `python figure.py` draws docs/_static/time-to-optimum-{light,dark}.svg.

Seconds against the distance to the minimum, of crosshead and of other libraries, from docs/benchmark/measurements.csv.
Runs where matplotlib is installed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

from curves import points
from optimum import Optima
from records import Records

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "crosshead"
mpl.rcParams["svg.fonttype"] = "none"
mpl.rcParams["font.sans-serif"] = ["DejaVu Sans", "Verdana", "Arial"]

from matplotlib import pyplot as plt  # noqa: E402

DOCS = Path(__file__).resolve().parents[1] / "docs"
PANELS = {"mnist-hard": "MNIST, softmax, L2, α = 1/N", "mnist-l1": "MNIST, softmax, L1"}
NAMES = {
    "crosshead": "crosshead",
    "sklearn-lbfgs": "scikit-learn, lbfgs",
    "sklearn-saga": "scikit-learn, saga",
    "sklearnex-lbfgs": "scikit-learn-intelex",
    "cyanure": "cyanure",
    "torch-lbfgs": "PyTorch, L-BFGS",
    "adelie": "adelie",
}
MARKERS = "osD^v<P"
THEMES = {
    "light": {
        "ink": "#1f2328",
        "muted": "#8b949e",
        "grid": "#e3e6ea",
        "hues": ["#0072b2", "#d55e00", "#009e73", "#b5628f", "#7a6a00", "#56707f", "#8c564b"],
    },
    "dark": {
        "ink": "#e6edf3",
        "muted": "#7d8590",
        "grid": "#30363d",
        "hues": ["#56b4e9", "#f0883e", "#3fb98a", "#d58fb8", "#d2bf55", "#9fb6c3", "#c49c94"],
    },
}
LOWEST, TARGET = 1e-7, 1e-4


def panel(ax: Any, workload: str, title: str, theme: dict[str, Any]) -> None:
    """One workload: a line for each library, and the gap that crosshead certified by itself."""
    records, optimum = Records(DOCS / "benchmark"), Optima(DOCS / "benchmark").get(workload)
    for place, (solver, name) in enumerate(NAMES.items()):
        rows = records.of(workload, solver)
        curve = sorted(points(rows, optimum), key=lambda point: -point.suboptimality)  # from loose to tight budgets
        if not curve:
            continue
        seconds = [point.seconds for point in curve]
        width = 2.4 if solver == "crosshead" else 1.3
        values = [max(point.suboptimality, LOWEST) for point in curve]
        ax.plot(seconds, values, marker=MARKERS[place], markersize=4, linewidth=width, color=theme["hues"][place],
                label=name, zorder=3 if place == 0 else 2)  # fmt: skip
        if solver == "crosshead":
            own = sorted(
                ((row.seconds, row.own_gap) for row in rows if row.own_gap == row.own_gap), key=lambda point: -point[1]
            )
            ax.plot(*zip(*own, strict=True), linestyle="--", marker=".", linewidth=1.3, color=theme["hues"][place],
                    label="crosshead, certified gap", zorder=3)  # fmt: skip
    ax.axhline(TARGET, color=theme["muted"], linewidth=0.8, zorder=1)
    ax.set(xscale="log", yscale="log", ylim=(LOWEST / 1.5, 3), xlim=(0.25, 80), title=title)
    ax.set_xlabel("seconds")
    ax.set_xticks([0.3, 1, 3, 10, 30], ["0.3", "1", "3", "10", "30"])
    ax.minorticks_off()
    ax.grid(True, which="major", color=theme["grid"], linewidth=0.7)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(theme["muted"])
    ax.tick_params(colors=theme["ink"], which="both", labelsize=9)
    for text in (ax.title, ax.xaxis.label, ax.yaxis.label):
        text.set_color(theme["ink"])


def draw(theme: dict[str, Any], path: Path) -> None:
    """Both panels with one legend."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 4), sharey=True, layout="constrained")
    figure.patch.set_alpha(0)
    for ax, (workload, title) in zip(axes, PANELS.items(), strict=True):
        ax.patch.set_alpha(0)
        panel(ax, workload, title, theme)
    axes[0].set_ylabel("distance to the minimum, relative", color=theme["ink"])
    found = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=4, fontsize=9, frameon=False,
                  labelcolor=theme["ink"])  # fmt: skip
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    for name, theme in THEMES.items():
        draw(theme, DOCS / "_static" / f"time-to-optimum-{name}.svg")
