"""The benchmark prompts of HPDv2: 800 in each of four styles.

The styles take turns, so that the first prompts of the set are as balanced as the whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain

from harness.core.shards import Prompt
from harness.fetch.download import PublicFile
from harness.prompts.base import PromptSource, register
from harness.prompts.columns import build_prompts
from harness.prompts.readers import read_rows

_STYLES = ("anime", "concept-art", "paintings", "photo")
_HOME = "https://huggingface.co/datasets/zhwang/HPDv2"
_COMMIT = "260dbde75ab1c68e86d32a8e7739f1b49b100578"
_FILES = tuple(
    PublicFile("prompts/hpdv2", f"{_HOME}/resolve/{_COMMIT}/benchmark/{style}.json")
    for style in _STYLES
)


def _parse(files: Mapping[str, bytes]) -> Iterator[Prompt]:
    return chain.from_iterable(zip(*(_style(files, style) for style in _STYLES), strict=False))


def _style(files: Mapping[str, bytes], style: str) -> Iterator[Prompt]:
    name = f"{style}.json"
    prompts = build_prompts(read_rows(files[name], name), name=name, stem=f"hpdv2-{style}")
    return (replace(prompt, category=style) for prompt in prompts)


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
