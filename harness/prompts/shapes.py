"""The prompt sets of the embedded world of coloured shapes: held-out captions, and classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from harness.core.shards import Prompt
from harness.prompts.base import PromptSource, register
from harness.world.grammar import benchmark_prompts

register(
    PromptSource(
        name="shapes",
        description="captions of the embedded world of coloured shapes, none of them trained on",
        home="harness/world/grammar.py",
        licence="Apache-2.0",
        citation="",
        prompts=320,
        categories=5,
        parse=lambda files: [Prompt(**row) for row in benchmark_prompts()],
    )
)


def _parse_classes(files: Mapping[str, bytes]) -> Iterator[Prompt]:
    """`class N`, its shape as category; its notes are what a judge must find in the picture."""
    from harness.world.single_objects import CLASSES, class_caption, class_spec

    for index in range(CLASSES):
        (group,) = class_spec(index).groups
        notes = {"class": index, "caption": class_caption(index), "objects": [group.name]}
        yield Prompt(f"shapes-classes-{index:02d}", f"class {index}", group.shape, notes)


register(
    PromptSource(
        name="shapes-classes",
        description="the 48 classes of the embedded world: one object of 8 colours and 6 shapes",
        home="harness/world/single_objects.py",
        licence="Apache-2.0",
        citation="",
        prompts=48,
        categories=6,
        parse=_parse_classes,
    )
)
