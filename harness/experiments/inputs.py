"""Seeds, sizes, names, paths and runs as users give them, read into what the harness works with."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from harness.core.call import Call, parse_call, split_list
from harness.core.errors import HarnessError
from harness.core.run_spec import parse_size
from harness.core.shards import listed_seeds
from harness.store.run import Run

Seeds = str | int | Iterable[int | str]
Names = str | Sequence[str]
Size = str | int | tuple[int, int]
RunLike = Run | str | Path
Say = Callable[[str], object]
"""Takes messages for the user, a line each: progress, warnings, what was left out."""


def quiet(text: str) -> None:
    """Drop a message: for functions whose return value holds all of it."""


def to_stderr(text: str) -> None:
    """Print a message to standard error."""
    print(text, file=sys.stderr)


def seeds_text(seeds: Seeds) -> str:
    """Seeds as the command line writes them: of `0-3`, 7, `range(4)`, `[0, 2, "5-8"]`."""
    parts = [seeds] if isinstance(seeds, str | int) else list(seeds)
    if not parts or not all(isinstance(p, str | int) and not isinstance(p, bool) for p in parts):
        raise HarnessError(f"seeds {seeds!r}: expected '0-3', a whole number or several")
    return ",".join(map(str, parts))


def seeds_of(seeds: Seeds) -> list[int]:
    """The seeds, increasing; raises HarnessError for repeated ones."""
    return sorted(seeds_in_order(seeds))


def seeds_in_order(seeds: Seeds) -> list[int]:
    """The seeds as they are written; raises HarnessError for repeated ones."""
    return listed_seeds(seeds_text(seeds))


def size_of(size: Size | None) -> tuple[int, int] | None:
    """Height and width in pixels from `512x768`, 512 or (512, 768)."""
    if size is None or isinstance(size, tuple):
        return size
    return parse_size(str(size))


def decoded_in(model: str, dtype: str | None) -> str:
    """A model's text with a decoder's precision: `sdxl(decode_dtype=bfloat16)`, if one is given."""
    if dtype is None:
        return model
    call = parse_call(model)
    if call.params.get("decode_dtype", dtype) != dtype:
        raise HarnessError(f"--decode-dtype {dtype} contradicts {model}: give one of the two")
    return str(Call(call.name, {**call.params, "decode_dtype": dtype}))


def names_of(names: Names) -> list[str]:
    """Names from `clip,hpsv2` or a list of them; commas inside brackets do not part."""
    return split_list(names) if isinstance(names, str) else list(names)


def path_of(path: str | Path | None) -> str | None:
    """A path as text."""
    return None if path is None else str(path)


def run_of(run: RunLike) -> Run:
    """A run, or the one in a folder; raises HarnessError where there is none."""
    return run if isinstance(run, Run) else Run.open(str(run))


def short_hash(value: Any) -> str:
    """Eight hexadecimal digits for JSON-like `value`: the same request finds its folder again."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:8]
