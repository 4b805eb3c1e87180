"""Functions shared by all figures: colours, panels, the style of pages, and output as SVG.

The hues are those of Okabe and Ito, which are distinguishable with any common colour blindness; each has a contrast of
at least 3 : 1 with white and near-black. Ink, muted ink and grid lines are placeholders for the colours of the page, so
that the same figure is legible on light and dark backgrounds.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crosshead.atomic_files import atomic_write
from crosshead.escaping import for_html, for_terminal

BLUE, VERMILLION, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#b5628f"
SERIES = (BLUE, VERMILLION, GREEN, PURPLE)
INK, MUTED, GRID = "#1f2328", "#6a737d", "#d8dce1"
GROUND = "white"  # of a figure in a file; in a page, figures have the page's background
FORMATS = (".svg", ".png", ".pdf")

_ON_PAGE = {
    INK: f"var(--ink, {INK})",
    MUTED: f"var(--muted, {MUTED})",
    GRID: f"var(--rule, {GRID})",
    BLUE: f"var(--blue, {BLUE})",  # the only hue that needs a lighter tone on dark backgrounds
}
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
_SANS = "var(--sans, system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif)"
_STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9.0,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "text.usetex": False,  # class names are not TeX, whatever a matplotlibrc says
}


def require_matplotlib() -> None:
    """Raise ModuleNotFoundError, with the command to install it, if matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "a picture needs matplotlib, which is not installed: pip install 'crosshead[plot]'"
        ) from error


def panels(
    ax: Any, rows: int = 1, columns: int = 1, *, size: tuple[float, float], **grid: Any
) -> tuple[Any, list[Any]]:
    """The figure and rows × columns axes of a display: a new figure, or the area of ``ax`` in its figure.

    A single panel is ``ax`` itself; for more, ``ax`` must be from a grid of axes, and is cleared; ValueError otherwise.
    """
    require_matplotlib()
    if ax is not None and rows * columns == 1:
        return ax.figure, [ax]
    if ax is None:
        from matplotlib import pyplot

        figure = pyplot.figure(figsize=size, layout="constrained")
        layout = figure.add_gridspec(rows, columns, **grid)
    else:
        figure, place = ax.figure, ax.get_subplotspec()
        if place is None:
            raise ValueError("this display draws several panels: give it axes made by figure.subplots()")
        ax.set_axis_off()
        layout = place.subgridspec(rows, columns, **grid)
    return figure, [figure.add_subplot(layout[row, column]) for row in range(rows) for column in range(columns)]


def ink() -> str:
    """The colour of text in the current style."""
    from matplotlib import rcParams

    return str(rcParams["text.color"])


def ground_lines(axis: Any, which: str = "both") -> None:
    """Draw light grid lines behind the data, and no box."""
    axis.grid(True, axis=which)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def thinned_ticks(count: int, room: int) -> list[int]:
    """Positions of at most about ``room`` of ``count`` labels, evenly spaced.

    Examples
    --------
    >>> thinned_ticks(5, 12), thinned_ticks(100, 5)
    ([0, 1, 2, 3, 4], [0, 20, 40, 60, 80])
    """
    step = max(1, -(-count // max(1, room)))
    return list(range(0, count, step))


@contextmanager
def page_style() -> Iterator[None]:
    """Context for the style of a page: small text, thin lines, no background, colours of the page."""
    require_matplotlib()
    from matplotlib import rc_context

    with rc_context(_STYLE):
        yield


def new_figure(width: float, height: float) -> tuple[Any, Any]:
    """Create a figure without a window, of a size in inches, and its axes."""
    require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def draw(display: Any, width: float, height: float, **options: Any) -> Any:
    """Draw the figure of a display in the style of a page."""
    with page_style(), _any_letters():
        figure, axes = new_figure(width, height)
        display.plot(ax=axes, **options)
        figure.draw_without_rendering()
    return figure


@contextmanager
def _any_letters() -> Iterator[None]:
    """Context without warnings about missing glyphs: text remains text, for the reader's fonts."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font")
        yield


def literal(text: str) -> str:
    r"""Escape text for matplotlib: dollars do not begin formulas, and control characters are escaped.

    Examples
    --------
    >>> literal("over $5")
    'over \\$5'
    """
    return for_terminal(text).replace("$", r"\$")


def shortened(label: str, most: int = 14) -> str:
    """Shorten and escape a label for a figure.

    Examples
    --------
    >>> shortened("a_rather_long_class"), shortened("cat")
    ('a_rather_long…', 'cat')
    """
    shown = for_terminal(label)
    return literal(shown if len(shown) <= most else f"{shown[: most - 1]}…")


def inline_svg(figure: Any, name: str, title: str, description: str) -> str:
    """Convert a figure to an <svg> element: no fixed size, ids with the prefix ``name``, an alternative text.

    Equal figures give equal text. ``title`` is the name of the figure, ``description`` its content.
    """
    body = _tidied(_rendered(figure, "none"), name)
    head, rest = re.match(r"<svg\b([^>]*)>", body), body.partition(">")[2]
    box = re.search(r'viewBox="([^"]*)"', head[1] if head else "")
    assert box is not None  # matplotlib always writes one
    alternative = f'<desc id="{name}-description">{for_html(description)}</desc>'
    return (
        f'<svg viewBox="{box[1]}" role="img" aria-label="{for_html(title)}" aria-describedby="{name}-description">'
        f"{alternative}{rest}"
    )


def save_figure(figure: Any, file: str | Path, *, dpi: int = 150) -> None:
    """Write a figure as .svg, .png or .pdf, without a date; the file is replaced atomically.

    Raises ValueError for another file type.
    """
    path = Path(file)
    kind = path.suffix.lower()
    if kind not in FORMATS:
        raise ValueError(f"{path}: a picture is written as one of {', '.join(FORMATS)}")
    with atomic_write(path) as temporary:
        if kind == ".svg":
            temporary.write_text(_rendered(figure, GROUND), encoding="utf-8")
        else:
            metadata = {"CreationDate": None} if kind == ".pdf" else None
            figure.savefig(temporary, format=kind[1:], dpi=dpi, metadata=metadata, facecolor=GROUND)


def _rendered(figure: Any, ground: str) -> str:
    from matplotlib import rc_context

    stream = io.StringIO()
    with rc_context({"svg.hashsalt": "crosshead", "svg.fonttype": "none"}), _any_letters():
        figure.savefig(stream, format="svg", metadata=_NO_METADATA, facecolor=ground)
    return stream.getvalue()


def _tidied(text: str, name: str) -> str:
    """The <svg> element alone, without URLs, with unique ids and the colours and fonts of the page."""
    text = text[text.index("<svg") :]
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    text = re.sub(r'\sid="([^"]+)"', lambda found: _own_id(found[1], used, name), text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    text = re.sub(r"(font: (?:[a-z0-9]+ )*[\d.]+px )[^;\"]*", rf"\1{_SANS}", text)
    for placeholder, colour in _ON_PAGE.items():
        text = text.replace(placeholder, colour)
    return re.sub(r"\n\s*", "\n", text)


def _own_id(identity: str, used: set[str], name: str) -> str:
    return f' id="{name}-{identity}"' if identity in used else ""


def percentage(share: float) -> str:
    """Format a share as a percentage for a sentence.

    Examples
    --------
    >>> percentage(0.0741), percentage(1.0), percentage(0.00012)
    ('7.4 %', '100 %', '0.012 %')
    """
    value = 100.0 * share
    if value == 0.0 or value >= 99.95:
        return f"{value:.0f} %"
    return f"{value:.1f} %" if value >= 0.1 else f"{value:.2g} %"


def listed(names: Sequence[object], most: int = 5) -> str:
    """Format names as an enumeration.

    Examples
    --------
    >>> listed(["a", "b", "c"]), listed(range(9), 2)
    ('a, b and c', '0, 1 and 7 more')
    """
    texts = [str(name) for name in names]
    if len(texts) > most:
        return f"{', '.join(texts[:most])} and {len(texts) - most} more"
    return " and ".join(filter(None, [", ".join(texts[:-1]), texts[-1]])) if texts else ""
