"""What comes from elsewhere is text to terminals, pages, model cards and spreadsheets, and nothing else."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
import unicodedata
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from crosshead.cli.output import CsvRows
from crosshead.escaping import (
    VISIBLE_FORMATS,
    for_csv,
    for_html,
    for_json,
    for_markdown,
    for_terminal,
    for_utf8,
    from_csv,
    one_line,
)

JOINERS = {"\u200c", "\u200d"}
ACTS_ON_A_TERMINAL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
ANY_TEXT = st.text(st.characters(codec=None, categories=None))
HOSTILE = [
    "\x1b]0;x\x07",
    "a\nb",
    "=cmd|' /C calc'!A0",
    "<script>alert(1)</script>",
    "\u202eabc",
    "[x](javascript:alert(1))",
    "https://example.org www.example.org a@example.org",
    "``` `` `",
    "\\|<b>",
    "]]>",
    "'\"&",
    "\ud800",
    "",
    " ",
]


def hostile(test):
    for text in HOSTILE:
        test = example(text=text)(test)
    return test


@hostile
@given(text=ANY_TEXT)
def test_a_terminal_is_not_controlled(text):
    shown = for_terminal(text)
    assert not ACTS_ON_A_TERMINAL.search(shown)
    assert all(
        unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
        for character in shown
        if character not in VISIBLE_FORMATS | JOINERS
    )
    assert for_terminal(shown) == shown
    assert not ACTS_ON_A_TERMINAL.search(one_line(text))


@given(ANY_TEXT.filter(lambda text: "\\" not in text))
def test_what_a_terminal_shows_tells_the_text(text):
    def character(found: re.Match[str]) -> str:
        return {"n": "\n", "r": "\r", "t": "\t"}.get(found[1]) or chr(int(found[1][1:], 16))

    shown = for_terminal(text)
    assert re.sub(r"\\([nrt]|x\w{2}|u\w{4}|U\w{8})", character, shown) == text


def test_every_character_by_its_category():
    """The whole of Unicode: escaped where Unicode's own table says that it controls or hides."""
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        category = unicodedata.category(character)
        if category == "Cn":
            continue
        hidden = category in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") and character not in VISIBLE_FORMATS
        assert (for_terminal(character) != character) is hidden, hex(code)


@pytest.mark.parametrize(
    "text",
    [
        "Zürich",
        "東京",
        "كلب",
        "می\u200cخواهم",
        "क्\u200dष",
        "👨\u200d👩\u200d👧",
        "❤\ufe0f\u200d🔥",
        "e\u0301",
        "10\u202f%",
        "C:\\new",
    ],
)
def test_every_script_is_shown_as_it_is(text):
    assert for_terminal(text) == text


@pytest.mark.parametrize(("text", "shown"), [("c\u200dat", r"c\u200dat"), ("\ufffe", r"\ufffe"), ("\x85", r"\x85")])
def test_what_hides_in_a_text_is_shown(text, shown):
    assert for_terminal(text) == shown


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[str | None] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [value for _, value in attrs]

    def handle_data(self, data):
        self.text += data


@hostile
@given(text=ANY_TEXT)
def test_a_page_shows_the_text_and_nothing_else(text):
    reader = Reader()
    reader.feed(f'<p title="{for_html(text)}">{for_html(text)}</p>')
    reader.close()
    assert (reader.tags, reader.attributes, reader.text) == (["p"], [for_terminal(text)], for_terminal(text))


@hostile
@given(text=ANY_TEXT)
@pytest.mark.parametrize("in_table", [False, True])
def test_markdown_shows_the_text_and_nothing_else(text, in_table):
    code = for_markdown(text, in_table=in_table)
    shown = (for_terminal(text) or " ").replace("|", r"\x7c" if in_table else "|")
    source = f"| | |\n|---|---|\n| name | {code} |\n" if in_table else f"Classes: {code}, end\n"
    tokens = MarkdownIt("commonmark").enable("table").parse(source)
    inline = [child for token in tokens for child in token.children or []]
    assert [child.type for child in inline if child.type != "text"] == ["code_inline"]
    assert next(child.content for child in inline if child.type == "code_inline") == shown
    assert not [token for token in tokens if token.type in ("html_block", "fence", "code_block")]


@hostile
@example(text="a\r=1")
@given(text=ANY_TEXT)
def test_a_cell_of_csv_is_no_formula_and_comes_back(text):
    stream = io.StringIO(newline="")
    CsvRows(stream, ["row", "label"], spreadsheet_safe=True).write([[1], [text]])
    _, (_, cell) = csv.reader(io.StringIO(stream.getvalue(), newline=""))
    assert cell in (for_utf8(text), f"'{for_utf8(text)}")
    assert from_csv(cell) == for_utf8(text)
    if cell.lstrip()[:1] in tuple("=+-@＝＋－＠") or cell[:1] in tuple("\t\r\n"):
        assert re.fullmatch("[-+.0-9eE]+", cell.strip()), cell
        float(cell)


@pytest.mark.parametrize("text", ["-1", "+1.5e-3", "0", "-.5", "cat", "a=b", "'tis", "", "proba_=x", "me@home"])
def test_numbers_and_plain_text_stay(text):
    assert for_csv(text) == text


@pytest.mark.parametrize("text", ["=1", "+cmd", "-1+1", "@SUM(A1)", "\t=1", "\rx", " =1", "＝1", "'=1", "-", "-٣"])
def test_what_a_spreadsheet_runs_is_marked(text):
    assert for_csv(text) == f"'{text}"
    assert from_csv(f"'{text}") == text


JSON = st.recursive(
    ANY_TEXT | st.integers() | st.booleans(), lambda inner: st.dictionaries(ANY_TEXT, inner), max_leaves=5
)


@given(JSON, st.sampled_from([None, 2]))
def test_json_stands_for_the_same_and_controls_no_terminal(document, indent):
    text = for_json(json.dumps(document, ensure_ascii=False, indent=indent))
    assert json.loads(text) == json.loads(json.dumps(document))  # which joins surrogates that stand beside each other
    assert not ACTS_ON_A_TERMINAL.search(text.replace("\n", ""))


@given(text=ANY_TEXT)
def test_a_file_of_text_can_hold_it(text):
    assert for_utf8(text).encode("utf-8").decode("utf-8") == for_utf8(text)
    assert (for_utf8(text) == text) is not any("\ud800" <= character <= "\udfff" for character in text)
