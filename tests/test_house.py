"""The house stays one that a newcomer can find a way through."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent / "harness"
FILES = sorted(ROOT.rglob("*.py"))

# Same job in each room that has one: what an entry is; how a package is run; its public names.
SHARED = {"__init__", "__main__", "base"}


def test_there_are_at_most_twenty_rooms() -> None:
    rooms = [p for p in ROOT.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()]
    assert len(rooms) <= 20


def test_no_file_is_longer_than_400_lines() -> None:
    assert [path for path in FILES if len(path.read_text().splitlines()) > 400] == []


def test_no_two_files_have_one_name() -> None:
    names = Counter(path.stem for path in FILES if path.stem not in SHARED)
    assert [name for name, count in names.items() if count > 1] == []


def test_no_two_classes_have_one_name() -> None:
    names = Counter(
        node.name
        for path in FILES
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_every_file_begins_with_what_it_is() -> None:
    silent = [path for path in FILES if not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == []
