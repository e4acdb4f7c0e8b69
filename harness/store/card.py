"""A run's `README.md`, a dataset card, which lists the run's tables for `datasets` and the hub.

Without it they take all Parquet files of a folder for one table, and these have different columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import yaml

from harness.core.run_spec import RunSpec

NAME = "README.md"

MARK = (
    "<!-- Written by the harness, and again with every new table: without this line it stays. -->"
)
"""Marks a card that the harness may overwrite; users who edit a card remove this line."""

_TABLES = {
    "images": "one row a picture: prompt, seed, PNG, network evaluations",
    "timing": "seconds of each shard of pictures",
    "guidance": "the nominal guidance scale of each step of each picture",
    "scores": "one row a picture: the metric's value, or why there is none",
    "features": "one row a picture: the encoder's features",
}


def config_name(kind: str) -> str:
    """The name for `load_dataset` of a kind of table: `scores-clip` for `scores/clip`."""
    return kind.replace("/", "-")


def card(spec: RunSpec, kinds: Sequence[str]) -> str:
    """The text of a run's card: a function of its specification and its kinds of tables."""
    front = {
        "pretty_name": spec.run_id,
        "configs": [
            {"config_name": config_name(kind), "data_files": f"{kind}/*.parquet"}
            | ({"default": True} if kind == "images" else {})
            for kind in kinds
        ],
    }
    lines = [
        f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=1000)}---",
        f"# {spec.run_id}",
        "\n".join(f"- {what}: `{value}`" for what, value in described(spec).items()),
        "\n".join(f"- `{config_name(kind)}`: {_TABLES[kind.split('/')[0]]}" for kind in kinds),
        "`run.json` has the full specification, revisions and versions.",
        MARK,
    ]
    return "\n\n".join(lines) + "\n"


def described(spec: RunSpec) -> dict[str, str]:
    """A run's settings by name: model, sampler, size, precision, guide."""
    if spec.size is None:  # of imported pictures no more is known
        return {"imported pictures": spec.sampler.name}
    height, width = spec.size
    found = {
        "model": spec.model,
        "sampler": str(spec.sampler),
        "size": f"{height}x{width}",
        "precision": spec.dtype,
    }
    return {**found, "guide": spec.guide} if spec.guide else found
