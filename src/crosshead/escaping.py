r"""Text of unknown origin, such as names of classes, files and columns, as terminals, pages and tables show it safely.

Each function takes the text as it is and returns what is written. What no function changes is printable text.

* `for_terminal`: characters that control a terminal, or cannot be seen, become visible escapes such as ``\x1b``
* `for_html`, `for_markdown`: that, and no markup
* `for_json`: the same characters as JSON's own escapes, which stand for the same text
* `for_csv`: no formula of a spreadsheet; `from_csv` gives back the text
* `for_utf8`: nothing that a file of text or Parquet cannot hold

Every text that crosshead prints or writes passes one of them where it leaves: in `crosshead.cli.output`,
`crosshead.cli.errors`, the templates of reports, explanations and model cards.
Imports nothing heavy.
"""

from __future__ import annotations

import re
from html import escape
from unicodedata import category

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)
"""What every page forbids itself: scripts, forms, and anything that is not inside its one file."""

ESCAPED_CATEGORIES = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})
"""Unicode's control, format, private and surrogate characters, line and paragraph separators."""

VISIBLE_FORMATS = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
"""Format characters (Cf) that are seen: signs that stand before the number or the word they mark."""

_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_BACKTICKS = re.compile("`+")
# Arabic script, the scripts of India and its neighbours, and emoji join or part their signs with these two characters;
# in any other text they only hide.
_JOINED = "\u0600-\u109f\u1780-\u1bff\ua800-\uabff\U00011000-\U00011fff\u2190-\u2bff\U0001f000-\U0001faff"
_JOINER = re.compile(f"(?<=[{_JOINED}\ufe0f])[\u200c\u200d](?=[{_JOINED}])")
_FORMULA = re.compile("'*(?:[\t\r\n]|\\s*[=+\\-@\uff1d\uff0b\uff0d\uff20])")
_NUMBER = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*", re.ASCII)


def for_terminal(text: str) -> str:
    r"""The text in one line, with escapes for the characters that are not printed.

    These are C0 and C1 controls, line breaks, controls of the direction of writing, zero-width and other format
    characters, lone surrogates and private characters. Joiners within a word of a script that needs them, or within an
    emoji, stay.

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


def one_line(message: str) -> str:
    r"""A message of several lines in one, each of its lines as `for_terminal` shows it.

    Examples
    --------
    >>> one_line("No such option: --alhpa\n  Did you mean --alpha?")
    'No such option: --alhpa Did you mean --alpha?'
    """
    return for_terminal(" ".join(filter(None, map(str.strip, message.splitlines()))))


def for_html(text: str) -> str:
    r"""The text for the content of an element, or for an attribute in quotes.

    Examples
    --------
    >>> for_html('<a title="1 & 2">')
    '&lt;a title=&quot;1 &amp; 2&quot;&gt;'
    """
    return escape(for_terminal(text))


def for_markdown(text: str, *, in_table: bool = False) -> str:
    r"""The text as a code span, in which Markdown knows no HTML, no links and no emphasis.

    In a table a bar would end the cell, and readers of Markdown differ on how else to write it: it becomes ``\x7c``.

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
    # One space at both ends belongs to the fence, unless the text is all spaces.
    padding = " " if shown.strip(" ") and (shown[0] in "` " or shown[-1] in "` ") else ""
    return f"{fence}{padding}{shown}{padding}{fence}"


def for_json(document: str) -> str:
    r"""A document in JSON with escapes for the characters that `for_terminal` escapes; line breaks stay.

    It stands for the same values: such characters are only found within JSON's texts.

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
    r"""The text with escapes for lone surrogates, which files of text cannot hold.

    Examples
    --------
    >>> print(for_utf8("caf\udce9"))
    caf\udce9
    """
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def for_csv(text: str) -> str:
    """A cell of CSV that no spreadsheet runs: an apostrophe comes before what begins like a formula.

    That is =, +, -, @, also in full width and after spaces, a tab or a line break; numbers stay as they are. Source:
    OWASP, "CSV Injection". It holds for a file that is opened as what it is, with commas between its cells.

    Examples
    --------
    >>> for_csv("=1+1"), for_csv("-1"), for_csv("cat")
    ("'=1+1", '-1', 'cat')
    """
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def from_csv(cell: str) -> str:
    """The text that `for_csv` made a cell of.

    Examples
    --------
    >>> from_csv("'=1+1"), from_csv("'tis")
    ('=1+1', "'tis")
    """
    return cell[1:] if cell.startswith("'") and for_csv(cell[1:]) == cell else cell


def _is_escaped(character: str) -> bool:
    kind = category(character)
    if kind == "Cn":  # a letter of a later Unicode than Python knows, or one of those that never will be one
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
