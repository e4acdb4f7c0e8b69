"""The guide to solvers names all of them, and everything that is refused."""

from __future__ import annotations

import re
from pathlib import Path

from harness.core.call import parse_call
from harness.engine.policies.base import POLICIES
from harness.engine.resolve import resolve
from harness.models.ladders import GRIDS_OF_LEVELS
from harness.samplers.diffusers_solvers import REFUSED, SHORT, SOLVERS

GUIDE = (Path(__file__).parents[2] / "docs" / "solvers.md").read_text()


def test_it_names_what_runs_and_what_does_not() -> None:
    runs, _, rest = GUIDE.partition("## What is refused")
    refused = rest.partition("## Ladders")[0]
    words = set(re.findall(r"[\w]+", runs))
    assert {*SOLVERS, *SHORT} <= words
    assert REFUSED.keys() <= set(re.findall(r"\w+", refused))


def test_its_settings_are_taken() -> None:
    for text in re.findall(r"harness bench '(.+?)'", GUIDE):
        resolve(parse_call(text), {})
    guidance = GUIDE.partition("## Guidance")[2]
    for options in re.findall(r"^\| `(.+?)` \|", guidance, re.M):
        resolve(parse_call(f"ddim(steps=20, {options})"), {})
    for policy in ("cfg_zero_star", "tcfg", "slg", "seg"):
        assert all(name in guidance for name in POLICIES.get(policy).parameters)
    ladders = GUIDE.partition("## Ladders")[2]
    for spacing in (*GRIDS_OF_LEVELS[1:], "ays", "lcm"):
        assert f"spacing={spacing}" in ladders
