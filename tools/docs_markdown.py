"""MkDocs hook: from the Markdown of GitHub, in which the pages are written, to that of Python-Markdown.

Python-Markdown indents what is inside a list item by four columns, where GitHub aligns it with the item's text; it
wants a blank line between a paragraph and a list; and in a table it shows the backslash of `a\\|b`.
"""

from __future__ import annotations

import re
from typing import Any

INDENT = 4
_ITEM = re.compile(r"(?:[-*+]|(\d+)[.)]) +")
_FENCE = re.compile("```+|~~~+")
_CODE = re.compile("`[^`]+`")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page as Python-Markdown reads it."""
    result: list[str] = []
    columns: list[int] = []  # where the text of each open list item begins
    fence, shift = "", 0
    before, listed = "", False  # the line before, and whether it belongs to a list item's first paragraph
    for line in markdown.splitlines():
        text = line.lstrip(" ")
        indent = len(line) - len(text)
        if fence:
            result.append(" " * shift + line if line else "")
            fence = "" if text.startswith(fence) else fence
            continue
        indented_code = indent - (columns[-1] if columns else 0) >= INDENT
        item, opening = None if indented_code else _ITEM.match(text), _FENCE.match(text)
        if item and before and not listed:
            if columns or item[1] in (None, "1"):
                result.append("")
            else:
                item = None  # a number where a paragraph's line begins
        if text and (item or opening or not before or text.startswith("#")):
            while columns and indent < columns[-1]:
                columns.pop()
        if text.startswith("|"):
            text = _CODE.sub(lambda code: code[0].replace(r"\|", "|"), text)
        inside = 0 if item else max(0, indent - columns[-1]) if columns else indent
        shift = INDENT * len(columns) + inside - indent
        result.append(" " * (indent + shift) + text if text else "")
        if item:
            columns.append(indent + item.end())
        fence = opening[0] if opening else ""
        listed = not opening and bool(item or (before and listed))
        before = text
    return "\n".join(result) + "\n"
