"""Many settings of some samplers, each an ordinary run, in one table of score against cost."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.experiments.benchmark import Candidate
from harness.experiments.options import OF_SWEEP, with_options
from harness.experiments.order import Order, Say, make_order, to_stderr
from harness.experiments.survey import run_survey
from harness.experiments.varying import Vary, parse_vary
from harness.store.survey_table import SurveyTable


@with_options(OF_SWEEP)
def sweep(
    sampler: str | Sequence[str] = (),
    *,
    vary: Sequence[str] | Vary = (),
    list_: str | None = None,
    cost: str = "nfe",
    say: Say = to_stderr,
    **options: Any,
) -> tuple[SurveyTable, str]:
    """Samplers with varied parameters: score and cost of each, and the Pareto front.

    The table and its folder. `list_` is a file with one more sampler a line; `cost`, what the front
    is against, is nfe, macs or seconds. Every point is an ordinary run.
    """
    samplers = [sampler] if isinstance(sampler, str) else [*sampler]
    samplers += read_list(list_) if list_ else []
    varied = parse_vary(vary)
    order = make_order(**options, match=cost)
    return run_sweep(order, {text: order.read(text) for text in samplers}, varied, say)


def run_sweep(
    order: Order, samplers: dict[str, Call], vary: Vary, say: Say
) -> tuple[SurveyTable, str]:
    """Run every sampler, by its text, with every combination of `vary`; nothing is paired.

    The table's folder is named by what is swept, so that the same sweep is found again.
    """
    if not samplers:
        raise HarnessError("nothing to sweep: name a sampler, or give --list FILE")
    candidates = [
        (Candidate(sampler=text, series=None if vary else call.name), call)
        for text, call in samplers.items()
    ]
    over = ", ".join(vary) or f"{len(candidates)} samplers"
    update = {
        "title": f"Sweep over {over}: {order.benchmark.title}",
        "vary": {name: [*values] for name, values in vary.items()},
        "primary": None,
    }
    swept = replace(order, benchmark=order.benchmark.model_copy(update=update), baseline=None)
    asked = json.dumps([[*samplers], update["vary"], order.guide, order.prompts, order.model])
    name = f"sweep-{hashlib.sha256(asked.encode()).hexdigest()[:8]}"
    return run_survey(swept, candidates, say, name)


def read_list(path: str) -> list[str]:
    """Samplers from a file, one a line; empty lines and those that begin with # are left out."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise HarnessError(f"cannot read the list of samplers {path}: {error}") from None
    lines = [line.strip() for line in text.splitlines()]
    found = [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise HarnessError(f"{path} names no sampler: write one a line")
    return found
