"""One sampler with one thing changed at a time, each change against the sampler as it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from harness.core.call import Call, parse_call
from harness.core.errors import HarnessError
from harness.experiments.benchmark import Candidate
from harness.experiments.options import OF_ABLATION, with_options
from harness.experiments.order import Say, make_order, to_stderr
from harness.experiments.survey import run_survey
from harness.experiments.varying import told
from harness.store.survey_table import SurveyTable


@with_options(OF_ABLATION)
def ablate(
    sampler: str, *, change: str | Sequence[str], say: Say = to_stderr, **options: Any
) -> tuple[SurveyTable, str]:
    """What does each part of a sampler do? Each change against the sampler as it is.

    The table and its folder, which is named by what is ablated, so that the same ablation is found
    again. A change is a text such as "rounds=2" or "eta=1, steps=10": a row, on the same prompts
    and noise; one that costs more also meets the unchanged sampler at its cost, and at its
    guidance.
    """
    changes = [change] if isinstance(change, str) else [*change]
    if not changes:
        raise HarnessError("nothing to compare: name a --change, for example --change guidance=1")
    order = make_order(sampler, **options)
    typed = order.read(sampler)
    base = order.planner().plan(typed, order.benchmark.defaults)
    candidates = []
    for changed in map(_read, dict.fromkeys(changes)):
        call = Call(typed.name, {**typed.params, **changed})
        candidates.append((Candidate(sampler=str(call), label=told(changed)), call))
    update: dict[str, Any] = {
        "title": f"Changes to {typed}: {order.benchmark.title}",
        "vary": {},
        "primary": None,  # a benchmark's is of its own candidates
    }
    ablated = replace(order, benchmark=order.benchmark.model_copy(update=update), baseline=base)
    asked = json.dumps([sampler, changes, order.guide, order.prompts, order.model])
    name = f"ablation-{hashlib.sha256(asked.encode()).hexdigest()[:8]}"
    return run_survey(ablated, candidates, say, name)


def _read(change: str) -> dict[str, Any]:
    try:
        found = parse_call(f"change({change})").params
    except HarnessError:
        found = {}
    if not found:
        raise HarnessError(
            f"cannot read --change {change!r}: expected PARAMETER=VALUE, for example guidance=1"
        )
    return found
