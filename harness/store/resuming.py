"""What has changed since a run was begun: refused or warned of when it goes on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from typing import Any

log = logging.getLogger(__name__)

ROUNDING = ("tf32", "compile")
"""In a run's `environment`, each "yes" or absent: settings that change last bits of pictures."""


def warn_of_changes(path: str, begun: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Warn once where the `environment` of a run is another than when it was begun."""
    begun, now = dict(begun), dict(now)
    for name in ROUNDING:
        was, is_now = begun.pop(name, None), now.pop(name, None)
        if was != is_now:
            words = ("with", "without") if was else ("without", "with")
            _warn_once(f"{path} was begun {words[0]} --{name}, now it goes on {words[1]}")
    if changed := difference(begun, now):
        _warn_once(f"{path} was begun with {changed[0]} {changed[1]}, now {changed[2]}")


@cache
def _warn_once(text: str) -> None:
    log.warning("%s", text)


def difference(old: dict[str, Any], new: dict[str, Any]) -> tuple[str, Any, Any] | None:
    """The first key whose values differ, with both values; nested keys are joined by dots."""
    for key in [*old, *(key for key in new if key not in old)]:
        a, b = old.get(key), new.get(key)
        if a == b:
            continue
        if isinstance(a, dict) and isinstance(b, dict):
            inner = difference(a, b)
            return (f"{key}.{inner[0]}", inner[1], inner[2]) if inner else None
        return key, a, b
    return None
