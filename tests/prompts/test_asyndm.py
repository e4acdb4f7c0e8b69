"""AsynDM's lists, and a user's own NAME.json with NAME_item.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import HarnessError
from harness.prompts.base import PROMPT_SETS, load_prompts
from harness.prompts.target_objects import find_objects

ITEMS = {
    "item_idx": {"a cat": [1], "a red dog.": [2]},
    "item_k": {"a cat": [0.3], "a red dog.": [0.7]},
}
PUBLISHED = Path("../shared/prompts")


def _write(folder: Path, items: Any) -> str:
    (folder / "mine.json").write_text(json.dumps(["a cat", "a red dog."]))
    (folder / "mine_item.json").write_text(json.dumps(items))
    return str(folder / "mine.json")


def test_objects_and_strengths_become_notes(tmp_path: Path) -> None:
    found = load_prompts(_write(tmp_path, ITEMS)).prompts
    assert [prompt.notes for prompt in found] == [
        {"item_idx": [1], "item_k": [0.3]},
        {"item_idx": [2], "item_k": [0.7]},
    ]


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ({"item_idx": {}}, "must hold the objects item_idx and item_k"),
        ({**ITEMS, "item_idx": {"a cat": [1]}}, "no entry for the prompt 'a red dog.'"),
        ({**ITEMS, "item_k": {"a cat": [0.3, 0.5], "a red dog.": [0.7]}}, "1 item_idx but 2"),
        ({**ITEMS, "item_idx": {"a cat": ["cat"]}}, "must be a list of numbers"),
        ({**ITEMS, "item_idx": {"a cat": [-1]}}, "must be a list of numbers"),
        ({**ITEMS, "item_k": [0.3]}, "an object of one list for each prompt"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, items: Any, words: str) -> None:
    with pytest.raises(HarnessError, match=words):
        load_prompts(_write(tmp_path, items))


@pytest.mark.skipif(not (PUBLISHED / "asyndm").is_dir(), reason="the published lists are not here")
@pytest.mark.parametrize("name", [name for name in PROMPT_SETS.names() if "asyndm" in name])
def test_the_published_lists(name: str, caplog: pytest.LogCaptureFixture) -> None:
    found = load_prompts(name, folder=str(PUBLISHED))
    assert not caplog.records  # the identity is the set's
    for prompt in found.prompts:
        objects = find_objects(prompt.text, prompt.notes)
        assert 1 <= len(objects) <= 5
        assert {one.strength for one in objects} < {0.3, 0.5, 0.7}
