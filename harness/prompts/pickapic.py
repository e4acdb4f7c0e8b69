"""Pick-a-Pic's unique test prompts, as the Z-Sampling and W2SD papers use them.

Their file has 500 rows in a fixed order, row 87 empty. The papers take rows 0 to 100 and drop the
empty one: 100 prompts. Row numbers stay in the ids.
"""

from __future__ import annotations

from functools import partial

from harness.fetch.download import PublicFile
from harness.prompts.base import PromptSource, read_table, register

_REPOSITORY = "xie-lab-ml/Weak-to-Strong-Diffusion-with-Reflection"
_COMMIT = "91de66c55a30cf68976242212543c454ff4a80de"
_NAME = "test_unique_caption_zh.csv"
_FILE = PublicFile(
    "prompts/pickapic",
    f"https://raw.githubusercontent.com/{_REPOSITORY}/{_COMMIT}/datasets/{_NAME}",
    aliases=("pickapic_test_unique.csv",),
)


def _register(name: str, description: str, rows: int | None, prompts: int, sha256: str) -> None:
    register(
        PromptSource(
            name=name,
            description=description,
            home=f"https://github.com/{_REPOSITORY}",
            licence="none stated",
            citation="Kirstain et al. 2023, arXiv:2305.01569",
            prompts=prompts,
            categories=1,
            parse=partial(read_table, name=_NAME, stem="pickapic", column="caption", rows=rows),
            files=(_FILE,),
            sha256=sha256,
        )
    )


_register(
    "pickapic",
    "the first 100 unique test prompts that users wrote",
    rows=101,
    prompts=100,
    sha256="734665cdb7619fc290f56777f79c3f0ce8f7c6c62897f44bc61858e0ee7a7620",
)
_register(
    "pickapic-500",
    "all 499 unique test prompts that users wrote",
    rows=None,
    prompts=499,
    sha256="a865cbf568b98b915d6e9a74c040532a734e55c6074b908be83ed463f59ed62a",
)
