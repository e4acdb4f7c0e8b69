"""PartiPrompts (P2), the prompts of the Parti paper, each with a category and a challenge."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping

from harness.core.errors import HarnessError
from harness.core.shards import Prompt
from harness.fetch.download import PublicFile
from harness.prompts.base import PromptSource, register
from harness.prompts.readers import decode

_COMMIT = "2c99f6652cbc7f0d0441aa91f4c7e7055bcb0071"
_FILE = PublicFile(
    "prompts/partiprompts",
    f"https://raw.githubusercontent.com/google-research/parti/{_COMMIT}/PartiPrompts.tsv",
)
_HEADER = ["Prompt", "Category", "Challenge"]


def _parse(files: Mapping[str, bytes]) -> Iterator[Prompt]:
    """Parse the tab-separated file, in which quotes have no special meaning."""
    text = decode(files[_FILE.name], _FILE.name)
    rows = [line.rstrip("\n").split("\t") for line in io.StringIO(text, newline=None)]
    if not rows or rows[0][:3] != _HEADER:
        raise HarnessError(f"{_FILE.name}: the first line does not name {', '.join(_HEADER)}")
    for at, row in enumerate(rows[1:]):
        prompt, category, challenge = [*row, "", "", ""][:3]
        if prompt.strip():
            notes = {"challenge": challenge.strip()}
            yield Prompt(f"partiprompts-{at:04d}", prompt, category.strip(), notes)


register(
    PromptSource(
        name="partiprompts",
        description="1632 prompts in 12 categories and 11 challenges, from one word to paragraphs",
        home="https://github.com/google-research/parti",
        licence="Apache-2.0",
        citation="Yu et al. 2022, arXiv:2206.10789",
        prompts=1632,
        categories=12,
        parse=_parse,
        files=(_FILE,),
    )
)
