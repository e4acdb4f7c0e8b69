"""The target objects of a prompt: which words of it name the things that a picture must show."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.core.errors import HarnessError
from harness.core.objects import Object, ObjectRequest, Span

_NOTHING = ObjectRequest()


def find_objects(
    prompt: str, notes: Mapping[str, Any], request: ObjectRequest = _NOTHING
) -> list[Object]:
    """The objects of a prompt: those requested, by tokens or names ("cat, hat"), else those in its
    notes, else the last word of each run of content words ("a big red car" is about a car). Their
    strengths are those requested, else the notes' own, else 0.7.

    Notes are `objects` (a list of phrases, or one text with commas) and `strength` (one number each
    or one for all), or AsynDM's `item_idx` (word indices) and `item_k`. With `released_tokens`,
    item_idx is taken for token indices, as the published code does; the two differ behind a comma,
    a digit or a word of several tokens. Raises HarnessError for an object that is not there.
    """
    own = None
    if request.tokens is not None:
        objects = [Object(token=token) for token in request.tokens]
    elif request.names is not None:
        objects = [Object(_named(prompt, phrase)) for phrase in _phrases(request.names)]
    elif "item_idx" in notes:
        released, own = request.released_tokens, notes.get("item_k")
        objects = [Object(token=i) if released else _word(prompt, i) for i in notes["item_idx"]]
    elif "objects" in notes:
        own = notes.get("strength")
        objects = [Object(_named(prompt, phrase)) for phrase in _phrases(notes["objects"])]
    else:
        objects = [Object((span,)) for span in _heads(prompt)]
    if own is not None:
        objects = _strengthened(
            objects,
            own,
            lambda n: f"the notes of {prompt!r} give {n} strengths for {len(objects)} objects",
        )
    if request.strength is None:
        return objects
    return _strengthened(
        objects,
        request.strength,
        lambda n: (
            f"strength gives {n} numbers, but the prompt {prompt!r} has {len(objects)} "
            "objects: give one number for all, or name the objects"
        ),
    )


def _phrases(objects: str | Sequence[str]) -> list[str]:
    names = objects.split(",") if isinstance(objects, str) else objects
    return [name.strip() for name in names if name.strip()]


def _named(prompt: str, phrase: str) -> tuple[Span, ...]:
    """All occurrences of a phrase in the prompt, in singular or plural."""
    words = r"\s+".join(re.escape(word) for word in phrase.split())
    matches = re.finditer(rf"(?<!\w){words}(?:s|es)?(?!\w)", prompt, re.IGNORECASE)
    if not (spans := tuple(match.span() for match in matches)):
        raise HarnessError(f"object {phrase!r} is not in the prompt {prompt!r}")
    return spans


def _word(prompt: str, index: int) -> Object:
    """The word of a whitespace index, without its punctuation; a token where there is no such word.

    One of the published indices counts tokens.
    """
    words = list(re.finditer(r"\S+", prompt))
    if index >= len(words):
        return Object(token=index)
    first, last = words[index].span()
    bare = re.search(r"\w(?:.*\w)?", prompt[first:last])
    return Object(((first + bare.start(), first + bare.end()) if bare else (first, last),))


def _strengthened(
    objects: list[Object], strengths: Any, problem: Callable[[int], str]
) -> list[Object]:
    """Objects with one strength for all, or one each; `problem(count)` is the error's message where
    the counts differ."""
    listed = [*strengths] if isinstance(strengths, list | tuple) else [strengths] * len(objects)
    if len(listed) != len(objects):
        raise HarnessError(problem(len(listed)))
    return [replace(item, strength=float(k)) for item, k in zip(objects, listed, strict=True)]


def _heads(prompt: str) -> Iterator[Span]:
    """The last word of each run of content words; a verb in -ing between words ends a run."""
    last: Span | None = None
    for match in re.finditer(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*|[^\w\s]", prompt):
        word = match[0].lower()
        if len(word) > 2 and word not in _FUNCTION_WORDS and not _is_verb(word):
            last = match.span()
        elif last:
            yield last
            last = None
    if last:
        yield last


def _is_verb(word: str) -> bool:
    return word.endswith("ing") and len(word) > 5 and word not in _NOUNS_IN_ING


_NOUNS_IN_ING = {"building", "ceiling", "clothing", "earring", "evening", "lightning", "morning"}


_FUNCTION_WORD_LIST = """
    a an the this that these those some any each every all both either neither no none another other
    such same own several few many much more most less least lots lot number pair couple dozen bunch
    group one two three four five six seven eight nine ten single double
    and or but nor not than then while when where which who whom whose what how why as if because
    of in on at by to from for with without within into onto out off over under above below beneath
    underneath behind before beside besides between among around about across along against after
    near next inside outside top bottom middle side left right front back up down upon through
    during toward towards close away together apart there here very too also just only
    i me my we us our you your he him his she her hers it its they them their something someone
    is are was were be been being am do does did has have had can could will would may might must
    should made make makes using used uses sits sit stands stand walks walk runs run eats eat plays
    play rides ride holds hold wears wear looks look looking seen shown filled surrounded mounted
    parked piled bunched perched arranged placed opened dressed hang hangs cut
    photo photos photograph photocopy picture image illustration painting drawing sketch render
    rendering portrait view shot art style digital emoji cartoon background
    red orange yellow green blue purple violet pink brown black white gray grey golden colored
    coloured big small large little tiny huge tall short long
"""


_FUNCTION_WORDS = frozenset(_FUNCTION_WORD_LIST.split())
