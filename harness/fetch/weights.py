"""A metric's published weights on this machine: where they lie, and their tensors."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from harness.core.errors import HarnessError
from harness.fetch.download import PublicFile, hash_file

if TYPE_CHECKING:
    import torch


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
    kept = _torch_cache() / public.name
    if kept.is_file():
        return str(kept)
    try:
        return str(public.obtain())
    except HarnessError as error:
        raise HarnessError(f"{error}, or name the file as a parameter: checkpoint=PATH") from None


def _torch_cache() -> Path:
    """Where torch.hub keeps downloads; asked for without importing torch."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(os.environ.get("TORCH_HOME", f"{cache}/torch")).expanduser() / "hub" / "checkpoints"


def named_file(path: str, what: str) -> str:
    """A local file that a parameter names; HarnessError if there is none."""
    if not Path(path).is_file():
        raise HarnessError(f"there is no file {path} with {what}")
    return path


def load_tensors(path: str, what: str) -> dict[str, torch.Tensor]:
    """The tensors of a file by name, on the CPU: safetensors, or a pickle of nothing else.

    Raises HarnessError if the file is another one.
    """
    import torch
    from safetensors.torch import load_file

    try:
        found = (
            load_file(path)
            if path.endswith(".safetensors")
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except Exception as error:  # unpickling, cut files: all mean the wrong file
        raise wrong_file(path, what, error) from error
    if not isinstance(found, dict):
        raise wrong_file(path, what, f"it holds a {type(found).__name__}")
    return found


def wrong_file(path: str, what: str, error: Exception | str) -> HarnessError:
    """The error for a file that is there and does not hold the weights."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return HarnessError(f"{path} does not load as {what}: {lines[0]}")


def digest(path: str) -> str:
    """The sha256 of a file; the hub's cache names large files by it."""
    blob = Path(path).resolve().name
    return blob if re.fullmatch(r"[0-9a-f]{64}", blob) else hash_file(path)
