"""Many settings of some samplers, each an ordinary run, in one table of score against cost."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from harness.core.call import parse_call
from harness.core.errors import HarnessError
from harness.experiments.bench import Order
from harness.experiments.benchmark import Candidate
from harness.experiments.survey import run_survey
from harness.experiments.varying import Vary
from harness.store.survey_table import SurveyTable


def run_sweep(
    order: Order, samplers: Sequence[str], vary: Vary, say: Callable[[str], None]
) -> tuple[SurveyTable, str]:
    """Run every sampler with every combination of `vary`; nothing is paired.

    The table's folder is named by what is swept, so that the same sweep is found again.
    """
    if not samplers:
        raise HarnessError("nothing to sweep: name a sampler, or give --list FILE")
    candidates = [
        Candidate(sampler=text, series=None if vary else parse_call(text).name)
        for text in dict.fromkeys(samplers)
    ]
    over = ", ".join(vary) or f"{len(candidates)} samplers"
    update = {
        "title": f"Sweep over {over}: {order.benchmark.title}",
        "candidate": None,
        "candidates": candidates,
        "vary": {name: list(values) for name, values in vary.items()},
        "baseline": None,
        "primary": None,
    }
    swept = order.benchmark.model_copy(update=update)
    asked = json.dumps([list(samplers), update["vary"], order.guide, order.prompts, order.model])
    name = f"sweep-{hashlib.sha256(asked.encode()).hexdigest()[:8]}"
    return run_survey(replace(order, benchmark=swept, baseline=None), say, name)


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
