from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from crosshead.data import Dataset, Predictions
from crosshead.linear import LinearClassifier
from crosshead.models import Model
from crosshead.report.page.build import Settings, Wording, report_on_model, report_on_predictions
from crosshead.report.page.contents import Contents, Training
from crosshead.report.page.render import check_packages, frequent_errors, render
from crosshead.scaling import Scaler

VOID = {"meta", "link", "img", "br", "hr", "input"}
LARGEST = 2_000_000
ODD = '<script>alert("&")</script> $x$'


class Page(HTMLParser):
    """What a browser would ask of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.references: list[str] = []
        self.addresses: list[str] = []
        self.pictures: list[dict[str, str | None]] = []
        self.tags: list[str] = []
        self.headings: list[int] = []
        self.tables = self.captions = self.scripts = 0
        self.open: list[str] = []
        self.loose: list[str] = []
        self.feed(text)
        self.close()

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        if "id" in found:
            self.ids.append(found["id"])
        for name in ("aria-labelledby", "aria-describedby"):
            self.references += (found.get(name) or "").split()
        for name, value in found.items():
            self.references += re.findall(r"url\(#([^)]+)\)", value or "")
            if name in ("href", "src", "srcset", "action", "data", "poster", "xlink:href"):
                if value.startswith("#"):
                    self.references.append(value[1:])
                else:
                    self.addresses.append(value)
        if tag in ("img", "svg"):
            self.pictures.append(found)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        self.tables += tag == "table"
        self.captions += tag == "caption"
        self.scripts += tag == "script"

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1] != tag:
            self.loose.append(tag)
        else:
            self.open.pop()


def check(text: str) -> Page:
    """Self-contained, accessible as far as that can be read off, small."""
    page = Page(text)
    assert len(text.encode()) < LARGEST
    assert page.scripts == 0
    assert (page.open, page.loose) == ([], [])
    assert len(page.ids) == len(set(page.ids))
    assert set(page.references) <= set(page.ids)
    assert all(address.startswith("data:") for address in page.addresses), page.addresses
    assert not re.search(r"@import|https?:|//[a-z]+\.|url\((?!#)", text)
    for picture in page.pictures:
        words = picture.get("alt") or picture.get("aria-label")
        assert words, picture
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(page.headings, page.headings[1:], strict=False))
    assert {"header", "nav", "main", "title"} <= set(page.tags)
    assert '<html lang="en">' in text
    return page


@pytest.fixture(scope="module")
def digits_contents() -> Contents:
    X, y = load_digits(return_X_y=True)
    estimator = LinearClassifier(alpha=1e-3).fit(X[:1000] / 16, y[:1000])
    scaler = Scaler("maxabs", 64, None, np.array([16.0]))
    model = Model(
        estimator.coef_,
        estimator.intercept_,
        estimator.classes_,
        "softmax",
        scaling=scaler,
        encoding={"kind": "array", "shape": [8, 8]},
        hyperparameters={"alpha": 1e-3, "l1_ratio": 0.0},
    )
    history = {
        name: [getattr(one, name) for one in estimator.history_] for name in ("passes", "seconds", "objective", "gap")
    }
    training = Training("softmax", estimator.objective_, estimator.gap_, 1e-4, "converged", "", history)
    rest = Dataset(X[1000:], y[1000:])
    scores = rest.features / 16 @ estimator.coef_.T + estimator.intercept_
    blocks = ((first, scores[first : first + 100]) for first in range(0, len(scores), 100))
    wording = Wording("Digits", "A test.", "held-out rows", facts=[("alpha", "0.001")], commands=["crosshead fit"])
    return report_on_model(model, rest, rest.target, blocks, wording, training=training)


def test_a_model_of_pictures(digits_contents):
    text = render(digits_contents)
    page = check(text)
    assert text == render(digits_contents)
    assert len([picture for picture in page.pictures if "src" in picture]) == 24
    assert page.tags.count("svg") == 5
    found = digits_contents.evaluation
    assert f"{100 * found.error:.2f}\u202f%" in text
    assert f"{found.cross_entropy:.3g} nats" in text
    for heading in ("Training", "Confusion", "Calibration", "Class templates", "Costliest rows", "How to reproduce"):
        assert f">{heading}</h2>" in text
    assert text.count('class="crosshead-explanation"') == 2
    assert "A right prediction: row" in text
    assert "A wrong prediction: row" in text


def test_colours_follow_the_reader(digits_contents):
    text = render(digits_contents)
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert "var(--ink" in text


def test_every_table_of_its_own_has_a_caption(digits_contents):
    text = render(digits_contents)
    outside = re.sub(r'<article class="crosshead-explanation">.*?</article>', "", text, flags=re.DOTALL)
    page = Page(outside)
    assert page.tables == page.captions > 0


def predictions(n: int = 40, c: int = 3, **more: Any) -> Predictions:
    generator = np.random.default_rng(1)
    p = generator.dirichlet(np.ones(c), n)
    return Predictions(p, np.array([f"class {k}" for k in range(c)]), generator.integers(0, c, n), **more)


def test_predictions_of_another_tool():
    text = render(report_on_predictions(predictions(), Wording("Forest", "Someone else's.")))
    page = check(text)
    assert page.tags.count("svg") == 2
    assert ">Training</h2>" not in text
    assert ">Class templates</h2>" not in text
    assert text.count('class="crosshead-explanation"') == 2


def test_scores_are_judged_by_their_loss():
    z = np.random.default_rng(2).normal(size=(30, 3))
    given = Predictions(z, np.arange(3), z.argmax(axis=1), kind="scores")
    contents = report_on_predictions(given, Wording("t", "s"), loss="hinge")
    text = render(contents)
    check(text)
    assert "no probabilities" in text
    assert "No row is predicted wrong." in text
    assert contents.loss_title == "hinge loss"


def test_what_comes_from_data_is_escaped():
    labels = np.array([ODD, "b", "-->"])
    names = np.array([f"{ODD}{k}" for k in range(40)])
    given = replace(predictions(), classes=labels, row_names=names)
    contents = report_on_predictions(
        given, Wording(ODD, ODD, ODD, cautions=[ODD], commands=[ODD], facts=[(ODD, ODD)], date=ODD)
    )
    text = render(contents)
    check(text)
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_letters_that_no_measuring_font_has():
    check(
        render(report_on_predictions(replace(predictions(), classes=np.array(["猫", "犬", "_x"])), Wording("猫", "犬")))
    )


@pytest.mark.parametrize("classes", [2, 60, 150, 1100])
def test_few_and_many_classes(classes):
    contents = report_on_predictions(predictions(300, classes), Wording("t", "s"), settings=Settings(resamples=20))
    text = render(contents)
    check(text)
    assert ('id="confusion-description"' in text) == (classes <= 120)
    assert len(frequent_errors(contents)) <= 10


def test_one_row_and_a_probability_of_zero():
    one = Predictions(np.array([[0.0, 1.0]]), np.array(["a", "b"]), np.array([0]))
    text = render(report_on_predictions(one, Wording("t", "s")))
    check(text)
    assert "infinite" in text
    assert "∞" in text
    assert "A right prediction" not in text


def test_frequent_errors_are_counted_from_the_confusion():
    given = Predictions(np.eye(3)[[1, 1, 2, 0, 1]], np.array(["a", "b", "c"]), np.array([0, 0, 0, 0, 1]))
    contents = report_on_predictions(given, Wording("t", "s"))
    assert frequent_errors(contents) == [("a", "b", 2, "50.00\u202f%"), ("a", "c", 1, "25.00\u202f%")]


def test_a_temperature_is_that_of_the_probabilities(digits_contents):
    z = np.random.default_rng(0).normal(size=(50, 3)) * 5
    y = np.random.default_rng(1).integers(0, 3, 50)
    model = Model(np.eye(3), np.zeros(3), np.arange(3), "hinge", scaling=Scaler("none", 3), temperature=4.0)
    contents = report_on_model(model, Dataset(z, y), y, [(0, z)], Wording("t", "s"))
    shifted = z / 4 - (z / 4).max(axis=1, keepdims=True)
    p = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    nll = -np.log(p[np.arange(50), y])
    assert contents.evaluation.cross_entropy == pytest.approx(nll.mean())
    np.testing.assert_allclose(contents.top.loss, np.sort(nll)[::-1][:24])
    assert contents.loss_title == "cross-entropy"
    text = render(contents)
    check(text)
    assert "softmax(z / 4)" in text


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_without_its_packages_the_extra_is_named(monkeypatch, package):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=rf"{package}.*crosshead\[report\]"):
        check_packages()
