"""A score that does not exist, and why."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Undefined:
    """In place of a number: why there is none."""

    reason: str
