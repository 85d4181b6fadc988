"""examples/quickstart.ipynb: it runs, and its committed outputs are those of its code."""

from __future__ import annotations

import sys

import pytest

import arasfsr

pytest.importorskip("nbclient", reason="notebooks are run by nbclient, of the extra dev")

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from tools.notebook import NOTEBOOK, execute


def committed() -> NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(notebook: NotebookNode) -> list[str]:
    """What each cell prints."""
    return ["".join(output.get("text", "") for output in cell.outputs) for cell in code_cells(notebook)]


def test_it_is_a_valid_notebook() -> None:
    nbformat.validate(committed())


def test_its_cells_were_run_in_order() -> None:
    cells = code_cells(committed())
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))


def test_every_output_is_a_result() -> None:
    outputs = [output for cell in code_cells(committed()) for output in cell.outputs]
    assert {output.output_type for output in outputs} == {"stream", "execute_result"}
    assert {output.name for output in outputs if output.output_type == "stream"} == {"stdout"}


def test_it_is_small_enough_to_be_read_in_a_browser() -> None:
    assert NOTEBOOK.stat().st_size < 400_000


@pytest.mark.slow
def test_it_prints_what_is_committed() -> None:
    assert printed(execute(committed())) == printed(committed())


def test_the_kernel_is_this_interpreter_with_this_checkout() -> None:
    code = "import sys, arasfsr; print(sys.executable, arasfsr.__file__)"
    assert printed(execute(new_notebook(cells=[new_code_cell(code)]))) == [f"{sys.executable} {arasfsr.__file__}\n"]
