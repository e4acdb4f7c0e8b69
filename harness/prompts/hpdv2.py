"""The benchmark prompts of HPDv2: 800 in each of four styles.

The styles take turns, so that the first prompts of the set are as balanced as the whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from harness.core.shards import Prompt
from harness.fetch.download import PublicFile
from harness.prompts.base import PromptSource, read_table, register

_STYLES = ("anime", "concept-art", "paintings", "photo")
_HOME = "https://huggingface.co/datasets/zhwang/HPDv2"
_COMMIT = "260dbde75ab1c68e86d32a8e7739f1b49b100578"
_FILES = tuple(
    PublicFile("prompts/hpdv2", f"{_HOME}/resolve/{_COMMIT}/benchmark/{style}.json")
    for style in _STYLES
)


def _parse(files: Mapping[str, bytes]) -> Iterator[Prompt]:
    prompts = (read_table(files, f"{style}.json", stem=f"hpdv2-{style}") for style in _STYLES)
    for same_rank in zip(*prompts, strict=False):
        yield from (replace(p, category=style) for p, style in zip(same_rank, _STYLES, strict=True))


register(
    PromptSource(
        name="hpdv2",
        description="800 prompts in each of the styles anime, concept-art, paintings, photo",
        home=_HOME,
        licence="Apache-2.0",
        citation="Wu et al. 2023, arXiv:2306.09341",
        prompts=3200,
        categories=4,
        parse=_parse,
        files=_FILES,
    )
)
