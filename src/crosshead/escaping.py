r"""Escape text of unknown origin, such as names of classes, files and columns, for terminals, pages and tables.

Each function takes the original text and returns the output. Printable text is not changed.

* `for_terminal`: control characters and invisible characters become visible escapes such as ``\x1b``
* `for_html`, `for_markdown`: the same, and markup is escaped
* `for_json`: the same characters become JSON escapes, with the same meaning
* `for_csv`: no spreadsheet formulas; `from_csv` is the inverse
* `for_utf8`: valid UTF-8, for text files and Parquet

All output passes through one of them: in `crosshead.cli.output`, `crosshead.cli.errors`, the
templates of reports, explanations and model cards. This module imports nothing heavy.
"""

from __future__ import annotations

import re
from html import escape
from unicodedata import category, combining, east_asian_width

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)
"""The content security policy of every page: no scripts, forms, or external resources."""

ESCAPED_CATEGORIES = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})
"""Unicode's control, format, private and surrogate characters, line and paragraph separators."""

VISIBLE_FORMATS = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
"""Visible format characters (Cf): signs before the number or word that they mark."""

_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_BACKTICKS = re.compile("`+")
# Arabic, the scripts of India and its neighbours, and emoji use these two characters to join or separate signs;
# in other text they are invisible.
_JOINED = "\u0600-\u109f\u1780-\u1bff\ua800-\uabff\U00011000-\U00011fff\u2190-\u2bff\U0001f000-\U0001faff"
_JOINER = re.compile(f"(?<=[{_JOINED}\ufe0f])[\u200c\u200d](?=[{_JOINED}])")
_FORMULA = re.compile("'*(?:[\t\r\n]|\\s*[=+\\-@\uff1d\uff0b\uff0d\uff20])")
_NUMBER = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*", re.ASCII)


def for_terminal(text: str) -> str:
    r"""Escape text for a terminal, in one line, with escapes for characters that are not printed.

    These are C0 and C1 controls, line breaks, bidirectional controls, zero-width and other format characters, lone
    surrogates and private characters. Joiners within a word of a script that needs them, or within an emoji, are not
    escaped.

    Examples
    --------
    >>> print(for_terminal("cat\x1b[2J"), for_terminal("one\ntwo"), for_terminal("\u202egpj.exe"))
    cat\x1b[2J one\ntwo \u202egpj.exe
    >>> for_terminal("Zürich, 東京")
    'Zürich, 東京'
    """
    if text.isprintable():
        return text
    joiners = {found.start() for found in _JOINER.finditer(text)}
    return "".join(
        character if place in joiners or not _is_escaped(character) else _escape_of(character)
        for place, character in enumerate(text)
    )


def display_width(text: str) -> int:
    """The columns that printable text takes in a terminal: two for wide characters, none for combining marks.

    Examples
    --------
    >>> display_width("sum"), display_width("交叉熵"), display_width("e\u0301")
    (3, 6, 1)
    """
    if text.isascii():
        return len(text)
    return sum(
        0 if combining(c) or category(c) in ("Mn", "Me", "Cf") else 1 + (east_asian_width(c) in "WF") for c in text
    )


def one_line(message: str) -> str:
    r"""Join the lines of a message, each escaped by `for_terminal`.

    Examples
    --------
    >>> one_line("No such option: --alhpa\n  Did you mean --alpha?")
    'No such option: --alhpa Did you mean --alpha?'
    """
    return for_terminal(" ".join(filter(None, map(str.strip, message.splitlines()))))


def for_html(text: str) -> str:
    r"""Escape text for the content of an HTML element or a quoted attribute.

    Examples
    --------
    >>> for_html('<a title="1 & 2">')
    '&lt;a title=&quot;1 &amp; 2&quot;&gt;'
    """
    return escape(for_terminal(text))


def for_markdown(text: str, *, in_table: bool = False) -> str:
    r"""Format text as a Markdown code span, in which HTML, links and emphasis have no effect.

    In a table, a bar would end the cell, and Markdown dialects differ in its escape: it becomes ``\x7c``.

    Examples
    --------
    >>> print(for_markdown("<b>"), for_markdown("a`b"), for_markdown("a|b", in_table=True))
    `<b>` ``a`b`` `a\x7cb`
    """
    shown = for_terminal(text) or " "
    if in_table:
        shown = shown.replace("|", r"\x7c")
    longest = max(map(len, _BACKTICKS.findall(shown)), default=0)
    fence = "`" * (longest + 1)
    # One space at both ends is part of the fence, unless the text is all spaces.
    padding = " " if shown.strip(" ") and (shown[0] in "` " or shown[-1] in "` ") else ""
    return f"{fence}{padding}{shown}{padding}{fence}"


def for_json(document: str) -> str:
    r"""Escape the characters of `for_terminal` in a JSON document; line breaks are not changed.

    Its values do not change: such characters occur only within JSON strings.

    Examples
    --------
    >>> print(for_json('["\u202egpj.exe"]'))
    ["\u202egpj.exe"]
    """
    if document.isprintable():
        return document
    return "".join(
        character if character == "\n" or not _is_escaped(character) else _json_escape(character)
        for character in document
    )


def for_utf8(text: str) -> str:
    r"""Escape lone surrogates, which text files cannot contain.

    Examples
    --------
    >>> print(for_utf8("caf\udce9"))
    caf\udce9
    """
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def for_csv(text: str) -> str:
    """Escape a CSV cell against formulas: text that begins like a formula gets a leading apostrophe.

    These are =, +, -, @, also in full width and after spaces, a tab or a line break; numbers are not changed. Source:
    OWASP, "CSV Injection". It is effective for files opened with the comma as delimiter.

    Examples
    --------
    >>> for_csv("=1+1"), for_csv("-1"), for_csv("cat")
    ("'=1+1", '-1', 'cat')
    """
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def from_csv(cell: str) -> str:
    """Undo `for_csv`.

    Examples
    --------
    >>> from_csv("'=1+1"), from_csv("'tis")
    ('=1+1', "'tis")
    """
    return cell[1:] if cell.startswith("'") and for_csv(cell[1:]) == cell else cell


def _is_escaped(character: str) -> bool:
    kind = category(character)
    if kind == "Cn":  # unassigned in Python's version of Unicode
        return ord(character) & 0xFFFE == 0xFFFE or "\ufdd0" <= character <= "\ufdef"
    return kind in ESCAPED_CATEGORIES and character not in VISIBLE_FORMATS


def _escape_of(character: str) -> str:
    code = ord(character)
    if code > 0xFFFF:
        return f"\\U{code:08x}"
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[first : first + 4]}" for first in range(0, len(units), 4))
