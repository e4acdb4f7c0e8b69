"""Columns of a table that are there and not read, and those that say how a picture is made."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable

log = logging.getLogger(__name__)

SETTINGS = {
    "negative_prompt": "--negative",
    "negative": "--negative",
    "neg_prompt": "--negative",
    "seed": "--seeds",
    "seeds": "--seeds",
    "guidance": "SAMPLER(guidance=...)",
    "guidance_scale": "SAMPLER(guidance=...)",
    "cfg": "SAMPLER(guidance=...)",
    "cfg_scale": "SAMPLER(guidance=...)",
    "steps": "SAMPLER(steps=...)",
    "num_steps": "SAMPLER(steps=...)",
    "num_inference_steps": "SAMPLER(steps=...)",
    "sampling_steps": "SAMPLER(steps=...)",
    "eta": "SAMPLER(eta=...)",
    "sampler": "the command's sampler",
    "scheduler": "the command's sampler",
    "model": "--model",
    "checkpoint": "--model",
    "width": "--size",
    "height": "--size",
    "size": "--size",
    "resolution": "--size",
    "aspect_ratio": "--size",
    "lora": "MODEL(lora=...)",
}
"""Columns that say how a picture is to be made, and what says so here, for all pictures alike."""


def warn_settings(where: str, columns: Iterable[str]) -> list[str]:
    """Warn of columns that say how a row's picture is to be made; their names."""
    found = [c for c in dict.fromkeys(columns) if _plain(c) in SETTINGS]
    if found:
        instead = ", ".join(dict.fromkeys(SETTINGS[_plain(c)] for c in found))
        log.warning(
            "%s: its columns %s say how each picture is to be made, and are not used: all "
            "pictures of a run are made alike, by %s",
            where, _listed(found), instead,
        )  # fmt: skip
    return found


def warn_unread(where: str, columns: Iterable[str], read: Collection[str]) -> None:
    """Warn, by name, of columns that are there and not read."""
    unread = [c for c in dict.fromkeys(columns) if c not in read]
    if unread:
        log.warning("%s: columns that are not read: %s", where, _listed(unread))


def _plain(column: str) -> str:
    return column.strip().lower().replace(" ", "_").replace("-", "_")


def _listed(columns: list[str], most: int = 12) -> str:
    shown = ", ".join(column[:40] for column in columns[:most])
    return shown + (f" and {len(columns) - most} more" if len(columns) > most else "")
