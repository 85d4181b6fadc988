"""Run the notebook of examples/ and write it with its outputs: `python -m tools.notebook`."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from ipykernel.kernelspec import write_kernel_spec
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"


def execute(notebook: NotebookNode) -> NotebookNode:
    """Run all cells in place, by this interpreter and with this checkout, whatever kernels are installed.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised.
    """
    with TemporaryDirectory() as folder:
        write_kernel_spec(Path(folder) / "python3")
        kernels = KernelSpecManager(kernel_dirs=[folder], ensure_native_kernel=False)
        manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=kernels)
        client = NotebookClient(notebook, km=manager, timeout=600, record_timing=False)
        path = os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))
        return client.execute(env={**os.environ, "PYTHONPATH": path})


def main() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.write(execute(notebook), NOTEBOOK)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
