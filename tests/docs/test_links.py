"""Links between the pages lead somewhere: to files that are there, and to headings in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, text_of

_LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    found = set()
    for title in re.findall(r"^#+ (.+)$", text, re.M):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", sorted(PAGES))
def test_links_lead_somewhere(page: str) -> None:
    here = (ROOT / page).parent
    for link in _LINK.findall(text_of(page)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (here / name).resolve() if name else ROOT / page
        assert target.exists(), f"{page}: {link}"
        if anchor:
            assert anchor in anchors(target.read_text()), f"{page}: {link}"


def test_every_page_is_in_the_index() -> None:
    listed = set(re.findall(r"\]\((\w[\w.-]*)(?:#[\w-]*)?\)", text_of("docs/README.md")))
    folder = Path(ROOT / "docs")
    pages = {path.name for path in folder.iterdir() if path.suffix in (".md", ".ipynb")}
    assert pages - {"README.md"} <= listed
