"""What a run is, as text and as data: `name(param=value, ...)`, seeds, sizes and the run's hash.

Nothing here knows which names exist; registries and signatures are checked where they live.
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
import re
from dataclasses import asdict, dataclass, field
from typing import Any

from harness.errors import HarnessError

_BARE = {"true": True, "false": False, "none": None, "null": None}
_CLOSERS = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True)
class Call:
    """A name with parameters, as typed: `zigzag(steps=10, inversion=released)`."""

    name: str
    params: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        inner = ", ".join(f"{key}={show_value(value)}" for key, value in self.params.items())
        return f"{self.name}({inner})" if inner else self.name


def parse_call(text: str) -> Call:
    """Parse `name` or `name(key=value, ...)`; a name may be a path.

    Values are numbers, `true`, `false`, `none`, quoted text, bare words and paths, and (nested)
    lists of these. Raises HarnessError for text that does not parse and for a repeated parameter.
    """
    text = text.strip()
    if not text.endswith(")"):
        if not text or ("(" in text and "=" in text):
            raise HarnessError(f"cannot read {text!r}: expected NAME or NAME(parameter=value, ...)")
        return Call(text)
    head, _, body = text[:-1].partition("(")
    if not head.strip():
        raise HarnessError(f"cannot read {text!r}: expected NAME(parameter=value, ...)")
    params: dict[str, Any] = {}
    for piece in _split(body, text):
        key, equals, value = piece.partition("=")
        key = key.strip()
        if not equals or not key.isidentifier():
            raise HarnessError(
                f"cannot read {piece.strip()!r} in {text!r}: expected parameter=value"
            )
        if key in params:
            raise HarnessError(f"parameter {key!r} is given twice in {text!r}")
        params[key] = _value(value.strip(), text)
    return Call(head.strip(), params)


def split_list(text: str) -> list[str]:
    """The parts of a comma-separated list, with commas inside of brackets and quotes kept."""
    return [piece.strip() for piece in _split(text, text)]


def _split(body: str, whole: str) -> list[str]:
    """Cut at commas outside of brackets and quotes."""
    pieces, start, stack, quote = [], 0, [], ""
    for at, char in enumerate(body):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in _CLOSERS:
            stack.append(_CLOSERS[char])
        elif stack and char == stack[-1]:
            stack.pop()
        elif char in ")]}":
            raise HarnessError(f"unbalanced {char!r} in {whole!r}")
        elif char == "," and not stack:
            pieces.append(body[start:at])
            start = at + 1
    if stack or quote:
        raise HarnessError(f"missing {quote or stack[-1]!r} in {whole!r}")
    pieces.append(body[start:])
    return [piece for piece in pieces if piece.strip()]


def _value(text: str, whole: str) -> Any:
    if not text:
        raise HarnessError(f"a parameter without a value in {whole!r}")
    if text[0] == "[" and text[-1] == "]":
        return [_value(piece.strip(), whole) for piece in _split(text[1:-1], whole)]
    if text[0] in "'\"":
        try:
            return ast.literal_eval(text)
        except (SyntaxError, ValueError):
            raise HarnessError(f"cannot read the text {text} in {whole!r}") from None
    if text.lower() in _BARE:
        return _BARE[text.lower()]
    for number in (int, float):
        try:
            value = number(text)
        except ValueError:
            continue
        if not math.isfinite(value):
            raise HarnessError(f"{text} is not a finite number in {whole!r}")
        return value
    return text


def show_value(value: Any) -> str:
    """A parameter's value as text that reads as the same value: text that would not is quoted."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(show_value(item) for item in value) + "]"
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, str) and not (
        re.fullmatch(r"[\w./:@-]+", value) and _value(value, value) == value
    ):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def parse_seeds(text: str) -> list[int]:
    """Seeds from `0-3`, `7` or `0,2,5-8`: increasing, without repeats, each in [0, 2**32)."""
    seeds: list[int] = []
    for piece in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", piece)
        if not match:
            raise HarnessError(f"cannot read seeds {text!r}: expected for example 0-3 or 0,2,5-8")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise HarnessError(f"seeds {piece.strip()!r} run backwards: write {last}-{first}")
        seeds.extend(range(first, last + 1))
    if len(set(seeds)) != len(seeds):
        raise HarnessError(f"seeds {text!r} name a seed twice")
    if max(seeds) >= 2**32:
        raise HarnessError(f"seed {max(seeds)} is above {2**32 - 1}")
    return sorted(seeds)


def parse_size(text: str) -> tuple[int, int]:
    """Height and width in pixels from `HxW` or `S` (square)."""
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text.strip().lower())
    if not match:
        raise HarnessError(f"cannot read size {text!r}: expected HxW, for example 512x768")
    return int(match[1]), int(match[2] or match[1])


DISTILLED = "distilled_guidance"
"""The setting of a model that takes guidance as an input: `MODEL(distilled_guidance=8)`."""


@dataclass(frozen=True)
class RunSpec:
    """Everything that determines an image of a run, besides its prompt and seed.

    `sampler` holds every parameter, defaults filled in. `size` is null for imported images, of
    which nothing but their source is known. `run_id` names the run's folder; which
    prompts and seeds were asked for is not part of it, so that more of them extend a run.
    """

    model: str
    sampler: Call
    size: tuple[int, int] | None  # height, width
    dtype: str
    noise_key: str
    negative: str | None = None
    guide: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> RunSpec:
        call = Call(data["sampler"]["name"], data["sampler"]["params"])
        size = data["size"] and tuple(data["size"])
        return cls(**{**data, "sampler": call, "size": size})

    @property
    def distilled_guidance(self) -> float | None:
        """The guidance scale that is an input of the network, where it is distilled for that."""
        given = parse_call(self.model).params.get(DISTILLED)
        return None if given is None else float(given)

    @property
    def pixels(self) -> tuple[int, int]:
        """Height and width of what a run makes, as opposed to imports."""
        assert self.size is not None, "imported images are not made"
        return self.size

    @property
    def run_id(self) -> str:
        text = json.dumps(self.to_dict(), sort_keys=True)
        name = re.sub("[:@]", "-", self.sampler.name)  # of a function in a file
        return f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class Prompt:
    """One prompt of a prompt set. `notes` is JSON-like extra knowledge (target objects, class)."""

    id: str
    text: str
    category: str = ""
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def notes_json(self) -> str:
        return json.dumps(self.notes, ensure_ascii=False, sort_keys=True)


@dataclass(frozen=True)
class Shard:
    """The unit of work and of storage: a fixed slice of the prompts at one seed, or without
    prompts, of the seeds (`consecutive`, from `seed` on).

    `index` counts slices of the whole prompt set, so that more seeds or prompts extend a run
    without renaming a file.
    """

    seed: int
    index: int
    first: int  # place of its first prompt in the set
    prompts: tuple[Prompt, ...]
    consecutive: bool = False

    @property
    def seeds(self) -> list[int]:
        """The seed of every item."""
        count = len(self.prompts)
        return [self.seed + (i if self.consecutive else 0) for i in range(count)]

    @property
    def item_ids(self) -> list[str]:
        pairs = zip(self.prompts, self.seeds, strict=True)
        return [item_id(prompt.id, seed) for prompt, seed in pairs]

    @property
    def name(self) -> str:
        return f"part-{self.seed:05d}-{self.index:05d}"

    @property
    def items_key(self) -> str:
        """Hash of what the shard must hold; a file with another key is not this shard."""
        pairs = zip(self.prompts, self.seeds, strict=True)
        rows = [(p.id, p.text, p.category, p.notes, seed) for p, seed in pairs]
        return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()[:16]


def item_id(prompt_id: str, seed: int) -> str:
    """The name of one image of a run: one prompt at one seed."""
    return f"{prompt_id}/{seed}"


def plan_shards(prompts: list[Prompt], seeds: list[int], size: int = 32) -> list[Shard]:
    """All shards of a run, prompts first: the early seeds are complete before later ones start.

    With an empty prompt alone, each shard is a slice of the seeds, filled from its beginning: it
    may hold a few seeds more than were asked for.
    """
    if len(prompts) == 1 and not prompts[0].text:
        last = {seed // size: seed for seed in sorted(seeds)}
        return [
            Shard(block * size, 0, 0, tuple(prompts) * (seed % size + 1), consecutive=True)
            for block, seed in last.items()
        ]
    starts = range(0, len(prompts), size)
    return [
        Shard(seed, index, first, tuple(prompts[first : first + size]))
        for seed in seeds
        for index, first in enumerate(starts)
    ]


def asked_items(prompts: list[Prompt], seeds: list[int]) -> set[str]:
    """The ids of every prompt at every seed."""
    return {item_id(prompt.id, seed) for prompt in prompts for seed in seeds}
