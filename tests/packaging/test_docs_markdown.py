"""GitHub's Markdown, in which the pages are written, as Python-Markdown wants it for the site."""

from __future__ import annotations

import pytest

from tools.docs_markdown import on_page_markdown

BELOW_A_NUMBER = "1. One\n   goes on.\n   - Inner\n     goes on.\n\n   A paragraph.\n2. Two\n"


@pytest.mark.parametrize(
    ("github", "python"),
    [
        (BELOW_A_NUMBER, "1. One\n    goes on.\n    - Inner\n        goes on.\n\n    A paragraph.\n\n2. Two\n"),
        ("- One\n\n  ```\n  code\n    more\n  ```\n", "- One\n\n    ```\n    code\n      more\n    ```\n"),
    ],
)
def test_what_is_inside_a_list_item_is_indented_by_four_columns(github: str, python: str) -> None:
    assert on_page_markdown(github) == python


def test_a_list_ends_where_a_paragraph_begins_at_the_margin() -> None:
    assert on_page_markdown("- One\n\nText\n  goes on.\n") == "- One\n\nText\n  goes on.\n"


@pytest.mark.parametrize("item", ["- one", "1. one"])
def test_a_list_after_a_paragraph_gets_a_blank_line(item: str) -> None:
    assert on_page_markdown(f"Text:\n{item}\n") == f"Text:\n\n{item}\n"


def test_a_number_where_a_line_of_a_paragraph_begins_is_no_list() -> None:
    assert on_page_markdown("The year was\n2026. So\n") == "The year was\n2026. So\n"


def test_a_pipe_in_code_in_a_table_loses_its_backslash() -> None:
    assert on_page_markdown("| `a\\|b` | c \\| d |\n") == "| `a|b` | c \\| d |\n"


@pytest.mark.parametrize(
    "text", ["```\n- a\n  - b\n| `a\\|b` |\n```\n", "::: name\n    options:\n      - a\n", "`a\\|b`\n"]
)
def test_code_stays_as_it_is(text: str) -> None:
    assert on_page_markdown(text) == text
