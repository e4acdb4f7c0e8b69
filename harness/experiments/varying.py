"""A sampler with some of its parameters varied: grids of values, and the calls they make."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from math import prod
from typing import Any

from harness.core.call import Call, parse_call, split_list
from harness.core.errors import HarnessError

Vary = Mapping[str, Sequence[Any]]
"""Values by parameter; `interval[0]` is the first entry of a parameter that is a list."""

MOST_POINTS = 10_000
"""Combinations of the values of one sampler."""

_ENTRY = re.compile(r"(\w+)\[(\d+)\]")


def parse_vary(asked: str | Sequence[str] | Vary) -> Vary:
    """Values by parameter from texts such as `guidance=1,2,4` or `interval[0]=0.1,0.3`, or from
    such a mapping."""
    if isinstance(asked, Mapping):
        for name, given in asked.items():
            if isinstance(given, str) or not isinstance(given, Iterable) or not [*given]:
                raise HarnessError(f"vary names no value of {name}: a list of values is needed")
        return {name: [*given] for name, given in asked.items()}
    values: dict[str, list[Any]] = {}
    for text in [asked] if isinstance(asked, str) else asked:
        name, equals, listed = text.partition("=")
        name = name.strip()
        if not equals or not (name.isidentifier() or _ENTRY.fullmatch(name)):
            raise HarnessError(
                f"cannot read --vary {text!r}: expected PARAMETER=VALUE,VALUE,..., for example "
                "guidance=1,2,4"
            )
        if name in values:
            raise HarnessError(f"--vary names {name} twice: give all its values at once")
        values[name] = [parse_call(f"v(v={value})").params["v"] for value in split_list(listed)]
        if not values[name]:
            raise HarnessError(f"--vary {text!r} names no value")
    return values


def expand(call: Call, vary: Vary) -> list[tuple[dict[str, Any], Call]]:
    """Every combination of the values, the last parameter's fastest, with the call it makes.

    Values of entries, `interval[0]`, go into the list that the call has; without one, all entries
    must be varied. Raises HarnessError for more than MOST_POINTS combinations.
    """
    if (count := prod(len(values) for values in vary.values())) > MOST_POINTS:
        raise HarnessError(
            f"vary makes {count:,} combinations of {call.name}, at most {MOST_POINTS:,} are run: "
            "name fewer values"
        )
    points = [dict(zip(vary, values, strict=True)) for values in product(*vary.values())]
    return [(point, Call(call.name, _set(call, point))) for point in points]


def _set(call: Call, point: Mapping[str, Any]) -> dict[str, Any]:
    params = dict(call.params)
    entries: dict[str, dict[int, Any]] = {}
    for name, value in point.items():
        if entry := _ENTRY.fullmatch(name):
            entries.setdefault(entry[1], {})[int(entry[2])] = value
        else:
            params[name] = value
    for name, values in entries.items():
        merged = dict(enumerate(params.get(name) or [])) | values
        if sorted(merged) != list(range(len(merged))):
            raise HarnessError(
                f"{name} has no entry {min(set(range(max(merged))) - set(merged))}: vary all its "
                f"entries, or give it a value in {call.name}({name}=[...])"
            )
        params[name] = [merged[at] for at in sorted(merged)]
    return params


def series_of(label: str, point: Mapping[str, Any]) -> str:
    """The name of a point's curve over cost: all its values but the number of steps."""
    others = {name: value for name, value in point.items() if name != "steps"}
    return label if not others or "steps" not in point else f"{label}, {as_text(others)}"


def as_text(point: Mapping[str, Any]) -> str:
    """Values by parameter as a label: `guidance=2, interval[0]=0.1`."""
    return ", ".join(str(Call("", {name: value}))[1:-1] for name, value in point.items())
