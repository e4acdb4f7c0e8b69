"""What harness/ imports is declared in pyproject.toml, and what is declared is used."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
DISTRIBUTIONS = {
    "PIL": "pillow",
    "cleanfid": "clean-fid",
    "open_clip": "open-clip-torch",
    "pydantic_core": "pydantic",  # whose errors it raises; pinned by it to one version
    "yaml": "pyyaml",
}
"""Distributions that are not called as what they install is imported."""

NOT_IMPORTED = {
    "tensorboard": "accelerate writes event files with it",
    "protobuf": "transformers reads SentencePiece's files with it",
}
"""Declared, and imported nowhere here, each for its reason."""


def _names(tree: ast.AST) -> Iterator[str]:
    """The modules that a file imports, or asks for by name (`find_spec`, `import_module`)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            words = node.args[:1] if node.func.attr in ("find_spec", "import_module") else []
            yield from (word.value for word in words if isinstance(word, ast.Constant))


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported() -> dict[str, str]:
    """The distributions that harness/ imports, each with a file that does."""
    found: dict[str, str] = {}
    for path in sorted((ROOT / "harness").rglob("*.py")):
        for name in _names(ast.parse(path.read_text())):
            top = name.split(".")[0]
            if top != "harness" and top not in sys.stdlib_module_names:
                found[_normal(DISTRIBUTIONS.get(top, top))] = str(path.relative_to(ROOT))
    return found


def declared(project: dict[str, Any]) -> set[str]:
    """The distributions that the package depends on, with its extras but for the developers'."""
    extras = [some for key, some in project["optional-dependencies"].items() if key != "dev"]
    lines = sum(extras, project["dependencies"])
    return {_normal(re.split(r"[\[<>=!~; ]", line)[0]) for line in lines}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no reader of TOML")
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_what_is_imported_is_declared(project: dict[str, Any]) -> None:
    known = declared(project)
    assert {name: path for name, path in imported().items() if name not in known} == {}


def test_what_is_declared_is_used(project: dict[str, Any]) -> None:
    assert declared(project) - imported().keys() - NOT_IMPORTED.keys() == set()


def test_exceptions_are_needed(project: dict[str, Any]) -> None:
    assert NOT_IMPORTED.keys() <= declared(project) - imported().keys()
