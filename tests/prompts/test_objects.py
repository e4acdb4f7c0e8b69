"""Which words of a prompt name its objects."""

from __future__ import annotations

from typing import Any

import pytest

from harness.core.errors import HarnessError
from harness.core.objects import ObjectRequest
from harness.prompts.base import load_prompts
from harness.prompts.target_objects import find_objects


def _named(prompt: str, notes: dict[str, Any] | None = None, asked: Any = None) -> list[str]:
    found = find_objects(prompt, notes or {}, ObjectRequest(asked))
    return ["|".join(prompt[first:last] for first, last in one.spans) for one in found]


@pytest.mark.parametrize(
    ("prompt", "objects"),
    [
        ("a rabbit playing basketball", ["rabbit", "basketball"]),
        ("a photo of a white handbag and a purple bed", ["handbag", "bed"]),
        ("A tennis racket underneath a traffic light.", ["racket", "light"]),
        ("a tall building, two dogs", ["building", "dogs"]),
        ("une île déserte", ["déserte"]),
        ("1234 ... !", []),
        ("", []),
    ],
)
def test_without_more_the_last_word_of_each_run_of_content_words(
    prompt: str, objects: list[str]
) -> None:
    assert _named(prompt) == objects


def test_named_objects_are_found_in_any_case_number_and_place() -> None:
    prompt = "A red Hat on hats, no hatter"
    assert _named(prompt, asked="hat, red  hat") == ["Hat|hats", "red Hat"]
    assert _named(prompt, {"objects": ["hat"]}) == ["Hat|hats"]
    assert _named(prompt, {"objects": "hat"}, asked=["red"]) == ["red"]
    with pytest.raises(HarnessError, match="'cat' is not in the prompt 'A red Hat"):
        _named(prompt, asked="cat")


def test_notes_give_each_object_its_strength() -> None:
    notes = {"objects": "cat, dog", "strength": [0.3, 0]}
    assert [one.strength for one in find_objects("a cat, a dog", notes)] == [0.3, 0]
    same = find_objects("a cat, a dog", {**notes, "strength": 0.4})
    assert [one.strength for one in same] == [0.4, 0.4]
    with pytest.raises(HarnessError, match="1 strengths for 2 objects"):
        find_objects("a cat, a dog", {**notes, "strength": [0.5]})


def test_published_word_indices_are_words_and_as_released_tokens() -> None:
    prompt = "A panda wearing a red hat, green gloves."
    notes = {"item_idx": [1, 5, 7], "item_k": [0.7, 0.5, 0.3]}
    assert _named(prompt, notes) == ["panda", "hat", "gloves"]
    released = find_objects(prompt, notes, ObjectRequest(released_tokens=True))
    assert [one.token for one in released] == [1, 5, 7]
    assert [one.strength for one in released] == [0.7, 0.5, 0.3]
    assert find_objects("A cross-section of a brain.", {"item_idx": [6]})[0].token == 6


def test_the_embedded_sets_notes_are_found_in_its_prompts() -> None:
    for prompt in load_prompts("shapes").prompts:
        assert len(find_objects(prompt.text, prompt.notes)) == len(prompt.notes["objects"])
