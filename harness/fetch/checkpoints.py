"""Where an encoder's weights lie: at a path the user names, in torch's own cache, or in ours."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from harness.core.errors import HarnessError
from harness.fetch.download import PublicFile


def find_checkpoint(given: str, public: PublicFile) -> str:
    """The path of a published file of weights.

    That is `given`, or the file of this name in the cache of torch.hub, or in the harness's own
    cache, into which it is downloaded if need be. Raises HarnessError if it cannot be had: what to
    get from where, and where to put it.
    """
    if given:
        path = Path(given).expanduser()
        if not path.is_file():
            raise HarnessError(f"there is no file of weights {given}; they are at {public.url}")
        return str(path)
    kept = _hub_cache() / public.path.name
    if kept.is_file():
        return str(kept)
    try:
        return str(public.obtain())
    except HarnessError as error:
        raise HarnessError(f"{error}, or name the file as a parameter: checkpoint=PATH") from None


def _hub_cache() -> Path:
    """Where torch.hub keeps downloads; asked for without importing torch."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(os.environ.get("TORCH_HOME", f"{cache}/torch")).expanduser() / "hub" / "checkpoints"


def wrong_file(path: str, what: str, error: Exception | str) -> HarnessError:
    """The error for a file that is there and does not hold the weights."""
    lines: Sequence[str] = str(error).strip().splitlines() or [type(error).__name__]
    return HarnessError(f"{path} does not load as {what}: {lines[0]}")
