"""The classes of the pictures in the guidance interval's paper, in the order of its figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from harness.core.shards import Prompt
from harness.prompts.base import PromptSource, register

_CLASSES = {
    "figure 5": (64, 959),
    "figure 6": (483, 933),
    "figure 10": (17, 33, 497),
    "figure 12": (324, 360, 105, 555, 397, 698, 849, 970),
    "figure 15": (1, 504),
}


def _parse(files: Mapping[str, bytes]) -> Iterator[Prompt]:
    for figure, classes in _CLASSES.items():
        for number in classes:
            yield Prompt(f"interval-{number:03d}", f"class {number}", figure, {"class": number})


register(
    PromptSource(
        name="interval-figures",
        description="the ImageNet classes that the guidance interval's paper shows pictures of",
        home="harness/prompts/interval_figures.py",
        licence="Apache-2.0",
        citation="Kynkaanniemi et al. 2024, arXiv:2404.07724",
        prompts=17,
        categories=5,
        parse=_parse,
    )
)
