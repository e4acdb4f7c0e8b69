"""One sampler with one thing changed at a time, each change against the sampler as it is."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from harness.core.call import Call, parse_call
from harness.core.errors import HarnessError
from harness.experiments.benchmark import Candidate
from harness.experiments.inputs import Say, short_hash
from harness.experiments.order import Order
from harness.experiments.survey import run_survey
from harness.experiments.varying import as_text
from harness.store.survey_table import SurveyTable


def ablate(order: Order, sampler: str, changes: Sequence[str], say: Say) -> tuple[SurveyTable, str]:
    """Compare a sampler with each of the changes to it; the table and its folder.

    A change is a text such as "rounds=2" or "eta=1, steps=10": a row, on the same prompts and
    noise; one that costs more also meets the unchanged sampler at its cost, and at its guidance.
    The folder is named by what is ablated, so that the same ablation is found again.
    """
    survey, candidates, name = ablated(order, sampler, changes)
    return run_survey(survey, candidates, say, name)


def ablated(
    order: Order, sampler: str, changes: Sequence[str]
) -> tuple[Order, list[tuple[Candidate, Call]], str]:
    """The survey that an ablation is: its order, its candidates, and its folder's name."""
    if not changes:
        raise HarnessError("nothing to compare: name a --change, for example --change guidance=1")
    typed = order.read(sampler)
    base = order.planner().plan(typed, order.benchmark.defaults)
    candidates = []
    for changed in map(_read, dict.fromkeys(changes)):
        call = Call(typed.name, {**typed.params, **changed})
        candidates.append((Candidate(sampler=str(call), label=as_text(changed)), call))
    update: dict[str, Any] = {
        "title": f"Changes to {typed}: {order.benchmark.title}",
        "vary": {},
        "primary": None,  # a benchmark's is of its own candidates
    }
    survey = replace(order, benchmark=order.benchmark.model_copy(update=update), baseline=base)
    asked = [sampler, [*changes], order.guide, order.prompts, order.model]
    return survey, candidates, f"ablation-{short_hash(asked)}"


def _read(change: str) -> dict[str, Any]:
    """The parameters of a change such as "eta=1, steps=10"."""
    with suppress(HarnessError):
        if params := parse_call(f"change({change})").params:
            return params
    raise HarnessError(
        f"cannot read --change {change!r}: expected PARAMETER=VALUE, for example guidance=1"
    )
