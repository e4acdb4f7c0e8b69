"""AsynDM's four lists of 40 prompts, each with its target objects and their strengths as notes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from harness.core.shards import Prompt
from harness.fetch.download import PublicFile
from harness.prompts.base import PromptSource, read_table, register
from harness.prompts.items import read_items, with_items

_HOME = "https://github.com/hu-zijing/AsynDM"
_COMMIT = "32241ee9c0f327f07b432936071f865fe259b4f3"
_FILES = f"https://raw.githubusercontent.com/hu-zijing/AsynDM/{_COMMIT}/config/prompt"
_LISTS = {  # name: description, sha256 of the set (see `identity`)
    "animal": (
        "animals at human pursuits",
        "757ccd69d0723fc459e314a0078fbe650a63e0acd1e3a3d69235bb803a60fff1",
    ),
    "drawbench": (
        "out of DrawBench",
        "c1497ffc648de531d477edff7930861137f9aa8b6c55b06c46173826ab7ce99a",
    ),
    "geneval": (
        "in the manner of GenEval",
        "06231f1d62207ad40c14d5bf7c44446fdc9e3dc98f4f2063c795f7953ceb9fc1",
    ),
    "mscoco": (
        "captions of MS-COCO",
        "3cf679e2a306e4dcc30ece5b6b28acfb70bb15d6715b27255cf3b5cd7ced750b",
    ),
}


def _parse(name: str, files: Mapping[str, bytes]) -> tuple[Prompt, ...]:
    items = f"{name}_item.json"
    prompts = read_table(files, f"{name}.json", stem=f"asyndm-{name}")
    return with_items(prompts, read_items(files[items], items), items)


for _name, (_what, _sha256) in _LISTS.items():
    register(
        PromptSource(
            name=f"asyndm-{_name}",
            description=f"40 prompts of AsynDM, {_what}, with their target objects",
            home=_HOME,
            licence="MIT",
            citation="Hu et al. 2025, arXiv:2510.04504",
            prompts=40,
            categories=1,
            parse=partial(_parse, _name),
            files=tuple(
                PublicFile("prompts/asyndm", f"{_FILES}/{file}")
                for file in (f"{_name}.json", f"{_name}_item.json")
            ),
            sha256=_sha256,
        )
    )
