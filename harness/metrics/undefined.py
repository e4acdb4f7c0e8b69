"""An undefined score, with the reason."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Undefined:
    """Stands for a score that is undefined, and gives the `reason`."""

    reason: str
