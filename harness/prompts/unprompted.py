"""No prompt: pictures are told apart by their seeds alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from harness.core.shards import Prompt
from harness.prompts.base import PromptSource, register


def _parse(files: Mapping[str, bytes]) -> Iterator[Prompt]:
    return iter([Prompt("none", "")])


register(
    PromptSource(
        name="unprompted",
        description="no prompt; a class-conditional model draws a class for each seed",
        home="harness/prompts/unprompted.py",
        licence="Apache-2.0",
        citation="",
        prompts=1,
        categories=1,
        parse=_parse,
    )
)
