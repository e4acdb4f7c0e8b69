"""Published weights of metrics: find or download the file, check it, and load its tensors."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from harness.core.errors import HarnessError, first_line
from harness.fetch.download import PublicFile, hash_file

if TYPE_CHECKING:
    import torch


def find_checkpoint(chosen: str, public: PublicFile) -> str:
    """The local path of a published weights file.

    That is `chosen` if not empty, or the file of this name in the cache of torch.hub, or in the
    harness's own cache, into which it is downloaded if need be. Raises HarnessError if that fails,
    which says what to download and where to put it.
    """
    if chosen:
        path = Path(chosen).expanduser()
        if not path.is_file():
            raise HarnessError(f"there is no file of weights {chosen}; they are at {public.url}")
        return str(path)
    kept = _torch_cache() / public.name
    if kept.is_file():
        return str(kept)
    try:
        return str(public.obtain())
    except HarnessError as error:
        raise HarnessError(f"{error}, or name the file as a parameter: checkpoint=PATH") from None


def _torch_cache() -> Path:
    """torch.hub's folder of downloads, without importing torch."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(os.environ.get("TORCH_HOME", f"{cache}/torch")).expanduser() / "hub" / "checkpoints"


def named_file(path: str, what: str) -> str:
    """The same path; HarnessError if there is no such file. `what` says what it should hold."""
    if not Path(path).is_file():
        raise HarnessError(f"there is no file {path} with {what}")
    return path


def load_tensors(path: str, what: str) -> dict[str, torch.Tensor]:
    """The tensors of a file by name, on the CPU: safetensors, or a pickle of tensors alone.

    Raises HarnessError for any other file; `what` names the weights in its message.
    """
    import torch
    from safetensors.torch import load_file

    try:
        tensors = (
            load_file(path)
            if path.endswith(".safetensors")
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except Exception as error:  # unpickling, cut files: all mean the wrong file
        raise wrong_file(path, what, error) from error
    if not isinstance(tensors, dict):
        raise wrong_file(path, what, f"it holds a {type(tensors).__name__}")
    return tensors


def wrong_file(path: str, what: str, error: Exception | str) -> HarnessError:
    """The error for a file that exists but does not hold the weights `what`."""
    return HarnessError(f"{path} does not load as {what}: {first_line(error)}")


def digest(path: str) -> str:
    """The sha256 of a file; the hub's cache names large files by it."""
    blob = Path(path).resolve().name
    return blob if re.fullmatch(r"[0-9a-f]{64}", blob) else hash_file(path)
