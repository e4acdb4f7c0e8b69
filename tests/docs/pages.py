"""The pages that users read, and the blocks of code in them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
GENERATED = ("docs/commands.md", "docs/python.md")

_FENCE = re.compile(r"^```(\w+)[ ]?([^\n]*)\n(.*?)^```", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the words behind it (`slow`, `runs`), its text."""

    page: str
    line: int
    language: str
    marks: tuple[str, ...]
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def text_of(page: str) -> str:
    return (ROOT / page).read_text()


def blocks(page: str, *languages: str) -> list[Block]:
    """The blocks of a page in these languages, in their order."""
    text = text_of(page)
    found = [
        Block(page, text.count("\n", 0, m.start()) + 1, m[1], tuple(m[2].split()), m[3])
        for m in _FENCE.finditer(text)
    ]
    return [block for block in found if block.language in languages]


def commands(block: Block) -> list[list[str]]:
    """A shell block's commands, a list of words each, without comments."""
    lines = block.code.replace("\\\n", " ").splitlines()
    split = [shlex.split(line, comments=True) for line in lines]
    return [words for words in split if words]
