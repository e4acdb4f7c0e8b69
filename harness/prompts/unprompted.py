"""The set of one empty prompt: a run's pictures differ by their seeds alone."""

from __future__ import annotations

from harness.core.shards import Prompt
from harness.prompts.base import PromptSource, register

register(
    PromptSource(
        name="unprompted",
        description="no prompt; a class-conditional model draws a class for each seed",
        home="harness/prompts/unprompted.py",
        licence="Apache-2.0",
        citation="",
        prompts=1,
        categories=1,
        parse=lambda files: [Prompt("none", "")],
    )
)
