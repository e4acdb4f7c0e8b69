"""One sampler with one thing changed at a time, each change against the sampler as it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from harness.core.call import Call, parse_call
from harness.core.errors import HarnessError
from harness.engine.resolve import portable
from harness.experiments.bench import Order
from harness.experiments.benchmark import Candidate
from harness.experiments.survey import run_survey
from harness.experiments.varying import told
from harness.store.survey_table import SurveyTable


def run_ablation(
    order: Order, changes: Sequence[str], say: Callable[[str], None]
) -> tuple[SurveyTable, str]:
    """`order.sampler` is the base; each of `changes` is a text such as `rounds=2` or `eta=1,
    steps=10`, and a row of the table, compared with the base on the same prompts and noise.

    The table's folder is named by what is ablated, so that the same ablation is found again.
    """
    if not changes:
        raise HarnessError("nothing to compare: name a --change, for example --change guidance=1")
    typed = parse_call(order.sampler)
    base = order.planned(typed, order.benchmark.defaults).spec.sampler
    candidates = [
        Candidate(sampler=str(Call(typed.name, {**typed.params, **change})), label=told(change))
        for change in map(_read, dict.fromkeys(changes))
    ]
    update: dict[str, Any] = {
        "title": f"Changes to {typed}: {order.benchmark.title}",
        "candidate": None,
        "candidates": candidates,
        "vary": {},
        "primary": None,  # a benchmark's is of its own candidates
    }
    ablated = order.benchmark.model_copy(update=update)
    asked = json.dumps([order.sampler, list(changes), order.guide, order.prompts, order.model])
    name = f"ablation-{hashlib.sha256(asked.encode()).hexdigest()[:8]}"
    return run_survey(replace(order, benchmark=ablated, baseline=str(portable(base))), say, name)


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
