"""Explanations as complete HTML pages."""

from __future__ import annotations

from dataclasses import replace

from crosshead.escaping import CONTENT_SECURITY_POLICY, for_html
from crosshead.explain.render.html import EXPLANATION_CSS
from crosshead.explain.result import Explanation, SampleExplanations

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>
body {{ font-family: system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }}
h1 {{ font-size: 1.5rem; }}
{css}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"""


def page(title: str, explanation: Explanation | SampleExplanations) -> str:
    """Format an explanation as a complete HTML page in one file.

    Parameters
    ----------
    title : str
        Title and heading of the page.
    explanation : Explanation or SampleExplanations
        What the page shows.

    Examples
    --------
    >>> from crosshead.explain import explain
    >>> text = page("One sample", explain([3.2, 5.1, -1.7], 0))
    >>> text.startswith("<!doctype html>"), "<h1>One sample</h1>" in text
    (True, True)
    """
    if isinstance(explanation, Explanation) and explanation.title == title:
        explanation = replace(explanation, title="")  # it is the page's heading
    return _PAGE.format(
        policy=CONTENT_SECURITY_POLICY,
        title=for_html(title),
        css=EXPLANATION_CSS,
        body=explanation.to_html(style=False),
    )
