"""The classes of the embedded world, for models that are told a class and no text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from harness.core.shards import Prompt
from harness.prompts.base import PromptSource, register


def _parse(files: Mapping[str, bytes]) -> Iterator[Prompt]:
    """`class N`, its shape as category; its notes say what a judge must find in the picture."""
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
        parse=_parse,
    )
)
