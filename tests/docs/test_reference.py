"""The references of commands and of Python are what the code declares."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.cli.reference import PAGES

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", PAGES)
def test_the_committed_reference_is_the_generated_one(name: str) -> None:
    assert (DOCS / name).read_text() == PAGES[name](), "run make docs"


def test_every_function_has_its_part() -> None:
    """What is in no part stands behind the parts, where only what extensions use belongs."""
    page = PAGES["python.md"]()
    others = page.partition("## What extensions are written with")[2]
    assert re.findall(r"^```\n(\w+)\(", others, re.M) == ["epsilon"]
