"""The notebook runs from its first cell to its last, and its stored outputs are of these cells."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import harness
from tests.docs.pages import ROOT
from tests.docs.test_code_blocks import cheaper

PATH = ROOT / "docs" / "notebook.ipynb"
CELLS: list[dict[str, Any]] = [
    cell for cell in json.loads(PATH.read_text())["cells"] if cell["cell_type"] == "code"
]


def test_its_cells_are_code_with_stored_answers_and_no_paths() -> None:
    for cell in CELLS:
        source = "".join(cell["source"])
        compile(source, "cell", "exec")
        assert [output["output_type"] for output in cell["outputs"]] == ["execute_result"]
        assert all(name in harness.__all__ for name in re.findall(r"harness\.(\w+)", source))
    assert PATH.stat().st_size < 100_000
    assert not re.search(r"/(home|tmp|root|work|usr)/", PATH.read_text())


@pytest.mark.slow
def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat

    from docs.run_notebook import executed

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(PATH, as_version=4)
    for cell in notebook.cells:
        cell.source = cheaper(cell.source)
    done = executed(notebook, str(tmp_path))
    answers = [cell.outputs for cell in done.cells if cell.cell_type == "code"]
    assert [len(outputs) for outputs in answers] == [1] * len(CELLS)
    verdicts = [outputs[0].data["text/plain"] for outputs in answers]
    assert any("zigzag against ddim on Alignment" in text for text in verdicts)
