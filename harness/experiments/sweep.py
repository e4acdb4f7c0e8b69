"""Many settings of some samplers, each an ordinary run, in one table of score against cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.experiments.benchmark import Candidate
from harness.experiments.inputs import Say, short_hash
from harness.experiments.order import Order
from harness.experiments.survey import run_survey
from harness.experiments.varying import Vary
from harness.store.survey_table import SurveyTable


def run_sweep(
    order: Order, samplers: dict[str, Call], vary: Vary, say: Say
) -> tuple[SurveyTable, str]:
    """Run every sampler with every combination of `vary`, without a baseline; the table and its
    folder.

    `samplers` are the calls by their texts. The folder is named by what is swept, so that the same
    sweep is found again.
    """
    sweep, candidates, name = swept(order, samplers, vary)
    return run_survey(sweep, candidates, say, name)


def swept(
    order: Order, samplers: dict[str, Call], vary: Vary
) -> tuple[Order, list[tuple[Candidate, Call]], str]:
    """The survey that a sweep is: its order, its candidates, and its folder's name."""
    if not samplers:
        raise HarnessError("nothing to sweep: name a sampler, or give --list FILE")
    candidates = [
        (Candidate(sampler=text, series=None if vary else call.name), call)
        for text, call in samplers.items()
    ]
    over = ", ".join(vary) or f"{len(candidates)} samplers"
    update = {
        "title": f"Sweep over {over}: {order.benchmark.title}",
        "vary": vary,
        "primary": None,
    }
    sweep = replace(order, benchmark=order.benchmark.model_copy(update=update), baseline=None)
    asked = [[*samplers], update["vary"], order.guide, order.prompts, order.model]
    return sweep, candidates, f"sweep-{short_hash(asked)}"


def read_list(path: str) -> list[str]:
    """Samplers from a file, one a line; empty lines and those that begin with # are left out."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise HarnessError(f"cannot read the list of samplers {path}: {error}") from None
    lines = [line.strip() for line in text.splitlines()]
    if samplers := [line for line in lines if line and not line.startswith("#")]:
        return samplers
    raise HarnessError(f"{path} names no sampler: write one a line")
