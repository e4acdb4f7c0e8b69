"""GenEval: object-focused prompts, each with what a picture of it must show in its notes."""

from __future__ import annotations

from functools import partial

from harness.fetch.download import PublicFile
from harness.prompts.base import PromptSource, read_table, register

_COMMIT = "b636c3c59106a271435556eff5c567f8569a8d53"
_NAME = "evaluation_metadata.jsonl"
_FILE = PublicFile(
    "prompts/geneval",
    f"https://raw.githubusercontent.com/djghosh13/geneval/{_COMMIT}/prompts/{_NAME}",
    aliases=("geneval_metadata.jsonl",),
)

register(
    PromptSource(
        name="geneval",
        description="553 prompts on single objects, pairs, counts, colours and positions",
        home="https://github.com/djghosh13/geneval",
        licence="MIT",
        citation="Ghosh et al. 2023, arXiv:2310.11513",
        prompts=553,
        categories=6,
        # the category is the file's `tag`; `include` and `exclude` become notes
        parse=partial(read_table, name=_NAME, stem="geneval", column="prompt", notes=True),
        files=(_FILE,),
        sha256="42e0183f13823471a91311bc5d8f755d75e63276dd7d32e63b3024f6e8c66162",
    )
)
