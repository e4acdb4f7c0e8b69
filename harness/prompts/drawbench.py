"""DrawBench, the 200 prompts of the Imagen paper, from its authors' sheet.

The sheet has no revisions to pin; the set's sha256 shows whether its prompts are still those that
papers use.
"""

from __future__ import annotations

from functools import partial

from harness.fetch.download import PublicFile
from harness.prompts.base import PromptSource, read_table, register

_SHEET = "https://docs.google.com/spreadsheets/d/1y7nAbmR4FREi6npB1u-Bo3GFdwdOPYJc617rBOxIRHY"
_FILE = PublicFile(
    "prompts/drawbench", f"{_SHEET}/gviz/tq?tqx=out:csv&sheet=Sheet1", "drawbench.csv"
)

register(
    PromptSource(
        name="drawbench",
        description="200 hard prompts: colours, counting, positions, text, rare words ...",
        home="https://imagen.research.google",
        licence="none stated",
        citation="Saharia et al. 2022, arXiv:2205.11487",
        prompts=200,
        categories=11,
        parse=partial(read_table, name=_FILE.name, stem="drawbench", column="Prompts"),
        files=(_FILE,),
        sha256="f899ee5fb2c7cc299efdfc45ae7f43795fce70f89e4409a8022625f0edc869c5",
    )
)
