"""Render the contents of a report as one self-contained HTML page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from crosshead.escaping import CONTENT_SECURITY_POLICY, for_terminal
from crosshead.explain.render.html import EXPLANATION_CSS
from crosshead.report.displays.confusion import ConfusionDisplay
from crosshead.report.displays.loss_curves import LossCurveDisplay
from crosshead.report.displays.reliability import ReliabilityDisplay
from crosshead.report.displays.templates import ClassTemplateDisplay
from crosshead.report.figures import draw, inline_svg
from crosshead.report.page.contents import Contents
from crosshead.report.page.thumbnails import thumbnails
from crosshead.report.page.verdict import headline, measures, number, percent, sentences

MAX_IN_MATRIX = 120
"""Up to this many classes the confusion matrix is drawn; with more, only the most frequent errors are listed."""
MAX_IN_TABLE = 40
"""Rows of the per-class table; with more classes, those with the most errors."""
MAX_PAIRS = 10


@dataclass(frozen=True)
class Figure:
    """A figure: its name in the page, its caption, and the <svg> element."""

    name: str
    caption: str
    svg: Any


@dataclass(frozen=True)
class TopRow:
    """One of the rows with the largest losses."""

    name: str
    true: str
    predicted: str
    probability: str
    loss: str
    share: str
    wrong: bool
    picture: str = ""


def render(contents: Contents) -> str:
    """Render a report as an HTML page. Equal contents give equal text.

    The page is self-contained: styles, figures and images are embedded, and there are no scripts. Text from data is
    escaped. Raises ModuleNotFoundError without matplotlib or Jinja2.

    Examples
    --------
    >>> import numpy as np
    >>> from crosshead.data import Predictions
    >>> from crosshead.report import Wording, report_on_predictions
    >>> predictions = Predictions(np.array([[0.8, 0.2], [0.4, 0.6]]), np.array(["cat", "dog"]), np.array([0, 1]))
    >>> page = render(report_on_predictions(predictions, Wording("Cats and dogs", "Two images.")))
    >>> page.lstrip()[:15].lower(), "Cats and dogs" in page
    ('<!doctype html>', True)
    """
    environment = _environment()
    big, text = headline(contents)
    curves = _curves(contents)
    return str(
        environment.get_template("page.html").render(
            policy=_markup(CONTENT_SECURITY_POLICY),
            contents=contents,
            big=big,
            headline=text,
            sentences=sentences(contents),
            measures=measures(contents),
            curves=curves,
            confusion=_confusion(contents),
            pairs=frequent_errors(contents),
            classes=_classes(contents),
            reliability=_reliability(contents),
            templates=_templates(contents),
            top=_top(contents),
            top_share=percent(float(contents.top.share.sum())),
            samples=[(heading, _markup(sample.to_html(style=False))) for heading, sample in contents.samples],
            explanation_css=_explanation_css(contents),
            no_curves=contents.training is not None and not curves,
        )
    )


def check_packages() -> None:
    """Raise ModuleNotFoundError, with the command to install it, if a required package is missing."""
    try:
        import jinja2  # noqa: F401
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"a report needs {error.name}, which is not installed: pip install 'crosshead[report]'"
        ) from error


def _environment() -> Any:
    check_packages()
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    def shown(value: Any) -> Any:
        return for_terminal(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    return Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        finalize=shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _markup(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)  # our own markup; text from data was escaped when it was created


def _explanation_css(contents: Contents) -> Any:
    if not contents.samples:
        return ""
    return _markup(EXPLANATION_CSS)


def _figure(display: Any, name: str, caption: str, width: float, height: float, **options: Any) -> Figure:
    drawn = draw(display, width, height, **options)
    return Figure(name, caption, _markup(inline_svg(drawn, name, caption, display.describe())))


def _curves(contents: Contents) -> list[Figure]:
    training = contents.training
    if training is None or not training.history or len(training.history["passes"]) < 2:
        return []
    display = LossCurveDisplay.of(training.history, tol=training.tol)
    return [
        _figure(display, "curve-passes", "Objective and certified gap by pass", 4.3, 4.0, by="passes"),
        _figure(display, "curve-seconds", "Objective and certified gap by second", 4.3, 4.0, by="seconds"),
    ]


def _confusion(contents: Contents) -> Figure | None:
    found = contents.evaluation
    if len(found.classes) > MAX_IN_MATRIX:
        return None
    matrix = found.confusion.toarray() if sparse.issparse(found.confusion) else np.asarray(found.confusion)
    display = ConfusionDisplay(np.round(matrix).astype(np.int64), [str(label) for label in found.classes.tolist()])
    return _figure(display, "confusion", "True classes (rows) and predicted ones (columns)", 4.8, 4.8)


def frequent_errors(contents: Contents) -> list[tuple[str, str, int, str]]:
    """(true, predicted, count, share of the true class) of the most frequent errors."""
    found = contents.evaluation
    counts = sparse.coo_array(found.confusion)
    counts.sum_duplicates()
    totals = np.asarray(found.confusion.sum(axis=1)).ravel()
    wrong = counts.row != counts.col
    rows, columns, values = counts.row[wrong], counts.col[wrong], counts.data[wrong]
    order = np.lexsort((columns, rows, -values))[:MAX_PAIRS]
    return [
        (
            str(found.classes[rows[place]]),
            str(found.classes[columns[place]]),
            round(float(values[place])),
            percent(float(values[place] / totals[rows[place]])),
        )
        for place in order
        if values[place] > 0
    ]


def _classes(contents: Contents) -> list[tuple[str, ...]]:
    found = contents.evaluation
    per_class = found.per_class
    chosen = np.arange(len(found.classes))
    if len(chosen) > MAX_IN_TABLE:
        chosen = np.lexsort((chosen, -per_class.wrong))[:MAX_IN_TABLE]
    columns = (per_class.precision, per_class.recall, per_class.f1)
    return [
        (
            str(found.classes[place]),
            f"{per_class.rows[place]:g}",
            f"{per_class.wrong[place]:g}",
            *("–" if np.isnan(values[place]) else f"{values[place]:.3f}" for values in columns),
        )
        for place in chosen
    ]


def _reliability(contents: Contents) -> Figure | None:
    table = contents.evaluation.reliability
    if table is None:
        return None
    return _figure(ReliabilityDisplay(table), "reliability", "Share that is right against probability", 4.3, 4.5)


def _templates(contents: Contents) -> Figure | None:
    if contents.weight is None or contents.shape is None:
        return None
    labels = [str(label) for label in contents.evaluation.classes.tolist()]
    display = ClassTemplateDisplay(contents.weight, labels, contents.shape)
    across = min(len(labels), 5)
    down = -(-min(len(labels), 30) // across)
    height = 0.15 + 1.15 * down * min(1.6, max(0.6, contents.shape[0] / contents.shape[1]))
    return _figure(display, "templates", "The weights of each class as a picture", 4.8, height)


def _top(contents: Contents) -> list[TopRow]:
    top, classes = contents.top, contents.evaluation.classes
    pictures = [""] * len(top)
    if contents.shape is not None and contents.top_features is not None:
        pictures = thumbnails(contents.top_features, contents.shape)
    probabilities = ["–"] * len(top) if top.probability is None else [f"{p:.3g}" for p in top.probability]
    return [
        TopRow(
            str(contents.top_names[place]),
            str(classes[top.target[place]]),
            str(classes[top.predicted[place]]),
            probabilities[place],
            number(float(top.loss[place])),
            percent(float(top.share[place])),
            bool(top.target[place] != top.predicted[place]),
            pictures[place],
        )
        for place in range(len(top))
    ]
