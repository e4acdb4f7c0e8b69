"""Imports go downward only, and what must stay light stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "harness"

# Lower first. Rooms of one level do not import each other.
LEVELS = [
    {"core"},
    {"world", "fetch"},
    {"store"},
    {"prompts", "metrics", "samplers", "models"},
    {"engine"},
    {"evaluation", "comparison", "reporting", "arena"},
    {"runs"},
    {"experiments"},
    {"face"},
    {"cli", "training"},
]
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}


def _part(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


FILES = [path for path in sorted(ROOT.rglob("*.py")) if path.parent != ROOT]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_downward(path: Path) -> None:
    mine = _part(path)
    assert mine in LEVEL, f"{mine} has no level in this test"
    for module in _imports(path):
        words = module.split(".")
        if words[0] != "harness" or len(words) < 2 or words[1] not in LEVEL or words[1] == mine:
            continue
        assert LEVEL[words[1]] < LEVEL[mine], f"{path.name} imports {module} from above or beside"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_store_knows_pyarrow(path: Path) -> None:
    if _part(path) != "store":
        assert not any(module.split(".")[0] == "pyarrow" for module in _imports(path))


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("harness.cli", ["torch", "pandas", "pyarrow", "diffusers", "matplotlib", "pydantic"]),
        ("harness.comparison", ["torch"]),
        ("harness.reporting", ["torch"]),
        ("harness.prompts.base", ["torch"]),
    ],
)
def test_light_modules_stay_light(module: str, heavy: list[str]) -> None:
    code = f"import sys, {module}; print(*[m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_help_imports_no_heavy_library() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "harness", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "typer" in imported
    heavy = {"torch", "numpy", "pandas", "pyarrow", "scipy", "diffusers", "transformers"}
    heavy |= {"matplotlib", "pydantic", "jinja2", "huggingface_hub", "pooch", "requests"}
    assert not imported & heavy
