from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure

from crosshead.report.displays.confusion import ConfusionDisplay
from crosshead.report.displays.loss_functions import LossFunctionDisplay
from crosshead.report.figures import BLUE, GREEN, INK, PURPLE, VERMILLION, draw, inline_svg, panels, save_figure


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2.1."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("ground", ["#ffffff", "#15171a"])
@pytest.mark.parametrize("hue", [BLUE, VERMILLION, GREEN, PURPLE])
def test_hues_stand_out_on_light_and_dark(hue, ground):
    assert contrast(hue, ground) >= 3.0


class Ids(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            self.links += re.findall(r"url\(#([^)]+)\)", value or "")
            if name == "href":
                self.links.append(value.removeprefix("#"))


def test_svg_for_a_page_is_deterministic_and_its_own():
    display = LossFunctionDisplay.from_losses()
    texts = [inline_svg(draw(display, 4, 3), "a", "Losses <&>", display.describe()) for _ in range(2)]
    assert texts[0] == texts[1]
    assert len(texts[0]) < 60_000
    assert "http" not in texts[0]
    assert "&lt;&amp;&gt;" in texts[0]
    found = Ids()
    found.feed(texts[0] + inline_svg(draw(display, 4, 3), "b", "Losses", "again"))
    assert len(found.ids) == len(set(found.ids))
    links = [link for link in found.links if not link.startswith("data:")]
    assert links
    assert set(links) <= set(found.ids)
    assert all(identity.startswith(("a-", "b-")) for identity in found.ids)


def test_ink_follows_the_page():
    text = inline_svg(draw(LossFunctionDisplay.from_losses(), 4, 3), "a", "t", "d")
    assert f"var(--ink, {INK})" in text
    assert not re.search(rf"(?<!, ){INK}", text)


@pytest.mark.parametrize("suffix", [".svg", ".png", ".pdf"])
def test_files_have_the_same_bytes_and_leave_nothing_behind(suffix, tmp_path):
    for name in ("a", "b"):
        display = ConfusionDisplay.from_predictions([0, 1, 1], [0, 1, 0])
        save_figure(display.figure_, tmp_path / f"{name}{suffix}")
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_another_kind_of_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\.svg, \.png, \.pdf"):
        save_figure(Figure(), tmp_path / "picture.bmp")
    assert list(tmp_path.iterdir()) == []


def test_several_panels_take_the_place_of_given_axes():
    figure = Figure()
    left, _ = figure.subplots(1, 2)
    same, axes = panels(left, 2, size=(1, 1))
    assert same is figure
    assert len(axes) == 2
    assert all(axis.get_subplotspec().get_topmost_subplotspec() == left.get_subplotspec() for axis in axes)
    loose = Figure().add_axes((0, 0, 1, 1))
    with pytest.raises(ValueError, match="subplots"):
        panels(loose, 2, size=(1, 1))


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError, match=r"crosshead\[plot\]"):
        LossFunctionDisplay(np.arange(2.0), {"hinge": np.ones(2)}).plot()
