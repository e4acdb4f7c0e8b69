"""Run `docs/notebook.ipynb` and store what its cells answer: `python -m docs.run_notebook`."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parent / "notebook.ipynb"


def executed(notebook: Any, folder: str) -> Any:
    """The notebook with the outputs of a run in `folder`: results, without progress, addresses in
    memory, and pictures stored twice."""
    where = {"metadata": {"path": folder}}
    NotebookClient(notebook, timeout=1800, resources=where, record_timing=False).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if one.output_type == "execute_result"]
            for output in cell.outputs:
                output.data.pop("image/jpeg", None)
                text = output.data["text/plain"]
                output.data["text/plain"] = re.sub(r" at 0x[0-9a-f]+", "", text)
    return notebook


def main() -> None:
    """Store the outputs of a run in a folder that is gone afterwards."""
    with TemporaryDirectory() as folder:
        nbformat.write(executed(nbformat.read(NOTEBOOK, as_version=4), folder), NOTEBOOK)


if __name__ == "__main__":
    main()
