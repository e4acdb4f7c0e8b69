"""Dev and test split of a prompt set: dev for tuning, test for the final comparison."""

from __future__ import annotations

import hashlib
import os

from harness.core.call import Call, parse_call
from harness.core.errors import HarnessError, unknown
from harness.core.shards import Prompt

DEV_SHARE = 0.25
SPLITS = ("dev", "test")


def split_of(prompt_id: str) -> str:
    """The split of a prompt, "dev" for a quarter of all ids, else "test": by a hash of the id."""
    place = int.from_bytes(hashlib.sha256(prompt_id.encode()).digest()[:8], "big") / 2**64
    return "dev" if place < DEV_SHARE else "test"


def in_split(prompts: tuple[Prompt, ...], split: str, source: str) -> tuple[Prompt, ...]:
    """The prompts of one split, in order; HarnessError for another name and for an empty one."""
    if split not in SPLITS:
        raise unknown("split", split, SPLITS, source)
    kept = tuple(prompt for prompt in prompts if split_of(prompt.id) == split)
    if not kept:
        raise HarnessError(
            f"none of the {len(prompts)} prompts of {source} is in its {split} split"
        )
    return kept


def with_split(spec: str, split: str) -> str:
    """The text that names one split of a prompt set: `drawbench` becomes `drawbench(split=dev)`."""
    if split not in SPLITS:
        raise unknown("split", split, SPLITS, spec)
    call = Call(spec) if os.path.isfile(spec) else parse_call(spec)
    if call.params.get("split", split) != split:
        raise HarnessError(f"{spec} is a split already: leave out --split {split}")
    return str(Call(call.name, {**call.params, "split": split}))
