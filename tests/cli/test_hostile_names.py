"""Names of classes, files and columns that try to act on a terminal, a page or a spreadsheet, through every command."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
import unicodedata
import xml.etree.ElementTree
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crosshead.cli.progress import Monitor
from crosshead.models import Model

NAMES = [
    "\x1b]0;x\x07",
    "a\nb",
    "=cmd|' /C calc'!A0",
    "<script>alert(1)</script>",
    "\u202eabc",
    "$x^{",
    "[red]x[/red]",
    "[x](javascript:alert(1))",
    "]]>",
    "{{7*7}}",
]
SOURCE = "d\x1b[31m.csv"
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def controls(text: str) -> set[str]:
    """What in a text acts on a terminal, but for the ends of lines."""
    kinds = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return {character for character in text if character != "\n" and unicodedata.category(character) in kinds}


@pytest.fixture
def source(tmp_path: Path) -> str:
    generator = np.random.default_rng(0)
    with (tmp_path / SOURCE).open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["<b>", "\x1b[2Jq", "=a", "[red]", "kind"])
        for place, name in enumerate(NAMES):
            corner = 3.0 * np.array([place & 1, place >> 1 & 1, place >> 2 & 1, place >> 3])
            rows.writerows([*point, name] for point in (corner + generator.normal(size=(6, 4))).round(3).tolist())
    return SOURCE


@pytest.fixture
def run(crosshead):
    def checked(*arguments: object, code: int = 0):
        outcome = crosshead(*arguments)
        assert outcome.code == code, outcome.err
        assert not controls(outcome.out), outcome.out
        assert not controls(outcome.err), outcome.err
        assert all(line.startswith("crosshead: ") for line in outcome.err.splitlines())
        return outcome

    return checked


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.metas: list[dict[str, str | None]] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs
        if tag == "meta":
            self.metas.append(dict(attrs))

    def handle_data(self, data):
        self.text += data


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def check_page(path: Path, *, names: list[str]) -> None:
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert not controls(text)
    assert not page.tags & {"script", "iframe", "object", "embed", "form", "base", "b_", "red"}
    assert [meta["content"] for meta in page.metas if meta.get("http-equiv") == "Content-Security-Policy"] == [POLICY]
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    for name, value in page.attributes:
        if name in ("href", "src"):
            assert (value or "").startswith(("#", "data:")), value
    for name in names:
        assert name in page.text


def test_models_and_their_pages(run, source, tmp_path):
    run("fit", source, "--target", "kind", "--output", "m", "--report")
    check_page(tmp_path / "m-report.html", names=["a\\nb", r"\x1b]0;x\x07", "<script>alert(1)</script>", "{{7*7}}"])
    assert run("describe", "m").out
    assert run("evaluate", "m", source).out
    explained = run("explain", "m", source, "--row", "1", "--row", "40")
    assert r"true \x1b]0;x\x07" in explained.out
    run("explain", "m", source, "--row", "7", "--output", "e.html")
    check_page(tmp_path / "e.html", names=["a\\nb", "<script>alert(1)</script>", "$x^{"])
    document = json.loads(run("explain", "m", source, "--row", "1", "--json").out)
    assert set(document["classes"]) == set(NAMES)
    assert r"\x1b]0;x\x07" in run("top-losses", "m", source, "--count", "60").out
    losses = json.loads(run("top-losses", "m", source, "--count", "60", "--json").out)
    assert {row["true"] for row in losses["top_losses"]} == set(NAMES)
    run("calibrate", "m", source, "--output", "c", code=2)  # of rows it was trained on
    card = (tmp_path / "m" / "README.md").read_text(encoding="utf-8")
    assert not controls(card)
    assert "`<script>alert(1)</script>`, `=cmd|' /C calc'!A0`, `[red]x[/red]`, `[x](javascript:alert(1))`" in card
    assert set(Model.load(tmp_path / "m").classes.tolist()) == set(NAMES)


def test_commands_on_data(run, source, tmp_path):
    run("check", source, "--target", "kind", "--alpha", "0.01")
    run("path", source, "--target", "kind", "--output", "m", "--picture", "p.svg", "--alphas", "3")
    xml.etree.ElementTree.parse(tmp_path / "p.svg")
    run("fit", source, "--target", "kind", "--output", "half", "--test", "0.5", "--alpha", "0.01")
    run("calibrate", "half", source, "--output", "c")
    assert "`temperature`" in (tmp_path / "c" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "arguments",
    [
        ("fit", "\x1b[31m\n\u202enofile.csv"),
        ("predict", "m", "digits", "--output", "\x1b[31m\u2028/p.csv"),
        ("fit", "digits", "--\x1b[31mfoo"),
        ("fit", "digits", "--alpha", "\x1b[31m\u200bone"),
        ("fit", "digits", "--engine", "\x9b31m"),
        ("predict", "\x1b]0;x\x07", "digits"),
        ("\x1b]0;x\x07",),
        ("compare", "\u202ea.csv", "b.csv"),
    ],
)
def test_arguments_come_back_in_one_line(run, arguments):
    assert len(run(*arguments, code=2).err.splitlines()) == 1


def test_a_traceback_for_developers(run, monkeypatch, crosshead):
    monkeypatch.setenv("CROSSHEAD_DEBUG", "1")
    outcome = crosshead("fit", "\x1b[31m.csv")
    assert "Traceback" in outcome.err
    assert not controls(outcome.err)


def test_predictions_are_read_back_by_name(run, source, tmp_path):
    run("fit", source, "--target", "kind", "--output", "m", "--alpha", "0.01")
    told = run("predict", "m", source, "--proba", "--output", "p.csv").err
    marked = [row["predicted"] for row in read_rows(tmp_path / "p.csv") if row["predicted"].startswith("'")]
    assert set(marked) == {"'=cmd|' /C calc'!A0"}
    assert f"{len(marked)} cells begin like a formula" in told
    assert "--no-spreadsheet-safe" in told
    plain = run("predict", "m", source, "--proba", "--output", "q.csv", "--no-spreadsheet-safe").err
    assert "formula" not in plain
    assert (tmp_path / "q.csv").read_text().replace("=cmd", "'=cmd") == (
        (tmp_path / "p.csv").read_text().replace("=cmd", "'=cmd").replace("''=cmd", "'=cmd")
    )
    found = [json.loads(run("evaluate", name, "--target", "predicted", "--json").out) for name in ("p.csv", "q.csv")]
    assert [one["rows"] for one in found] == [60, 60]
    assert [one["error"] for one in found] == [0.0, 0.0]  # each row is predicted as it is predicted
    run("predict", "m", source, "--proba", "--output", "p.parquet")
    run("compare", "p.csv", "p.parquet", "--labels", source, "--target", "kind", "--resamples", "20")
    run("report", "p.csv", "--labels", source, "--target", "kind", "--output", "r.html", "--resamples", "20")
    check_page(tmp_path / "r.html", names=["a\\nb", "<script>alert(1)</script>"])
    document = json.loads(run("predict", "m", source, "--json", "--top", "2").out)
    assert set(document["classes"]) == set(NAMES)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_csv_on_stdout_is_data_to_a_program_and_text_to_a_terminal(run, crosshead, source, monkeypatch):
    run("fit", source, "--target", "kind", "--output", "m")
    piped = crosshead("predict", "m", source, "--top", "2")
    predicted = {row["predicted"].removeprefix("'") for row in csv.DictReader(io.StringIO(piped.out, newline=""))}
    assert predicted == set(NAMES)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    assert crosshead("predict", "m", source, "--top", "2").code == 0
    assert not controls(terminal.getvalue())
    assert len(terminal.getvalue().splitlines()) == 61
    assert r'"a\nb"' in terminal.getvalue()


def test_top_losses_in_csv(run, source, tmp_path):
    run("fit", source, "--target", "kind", "--output", "m")
    assert "begin like a formula" in run("top-losses", "m", source, "--output", "t.csv", "--count", "60").err
    run("top-losses", "m", source, "--output", "u.csv", "--count", "60", "--no-spreadsheet-safe")
    names = [{row["true"] for row in read_rows(tmp_path / name)} for name in ("t.csv", "u.csv")]
    assert names[1] == set(NAMES)
    assert names[0] == {f"'{name}" if name.startswith("=") else name for name in NAMES}


@pytest.mark.parametrize("labels", [[-1, 1], ["-1", "+1"]])
def test_numbers_are_never_marked(run, tmp_path, labels):
    points = np.arange(20.0)[:, None] - 9.5
    np.savez(tmp_path / "d.npz", X=points, y=np.array(labels)[(points[:, 0] > 0).astype(int)])
    run("fit", "d.npz", "--output", "m")
    outcome = run("predict", "m", "d.npz", "--top", "2")
    assert outcome.err == ""
    assert {row.split(",")[1] for row in outcome.out.splitlines()[1:]} == set(map(str, labels))


def test_files_of_images(run, tmp_path):
    generator = np.random.default_rng(1)
    for name, light in (("\x1b[31mred", 30), ("=dark\u202e", 160)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for place in range(6):
            pixels = generator.integers(light, light + 60, (6, 6), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"\n\x07{place}.png")
    run("fit", "photos", "--output", "m")
    (tmp_path / "photos" / "\x1b[31mred" / "broken\x1b[2J.png").write_text("no image")
    told = run("predict", "m", "photos", "--skip-broken", "--output", "p.csv").err
    assert r"broken\x1b[2J.png" in told
    run("check", "photos", code=2)
    run("predict", "m", "photos", "--skip-broken", "--json")
    assert run("top-losses", "m", "photos", code=2).err


@pytest.mark.parametrize("label", ["\ud800", "caf\udce9"])
def test_names_that_are_no_text(run, tmp_path, label):
    np.savez(tmp_path / "d.npz", X=np.arange(12.0)[:, None], y=np.array([label, "b"]).repeat(6))
    run("fit", "d.npz", "--output", "m", "--report")
    shown = label.encode("utf-8", "backslashreplace").decode()
    for name in ("p.csv", "p.parquet"):
        run("predict", "m", "d.npz", "--proba", "--top", "1", "--output", name)
    assert f"proba_{shown}" in (tmp_path / "p.csv").read_text(encoding="utf-8")
    assert json.loads(run("predict", "m", "d.npz", "--json").out)["classes"] == ["b", label]


def test_progress_on_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Monitor() as monitor:
        monitor.stage("reading \x1b]0;x\x07[red]a[/red]")
        assert monitor._line(80).plain.startswith(r"reading \x1b]0;x\x07[red]a[/red]")


def test_help_names_the_option(run):
    for command in ("predict", "top-losses"):
        assert re.search(r"--no-spreadsheet-safe|--no-spreadsheet", run(command, "--help").out)
