"""The embedded set: held-out captions of the world of coloured shapes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from harness.core.shards import Prompt
from harness.prompts.base import PromptSource, register


def _parse(files: Mapping[str, bytes]) -> Iterator[Prompt]:
    from harness.world.grammar import benchmark_prompts

    return (Prompt(**row) for row in benchmark_prompts())


register(
    PromptSource(
        name="shapes",
        description="captions of the embedded world of coloured shapes, none of them trained on",
        home="harness/world/grammar.py",
        licence="Apache-2.0",
        citation="",
        prompts=320,
        categories=5,
        parse=_parse,
    )
)
