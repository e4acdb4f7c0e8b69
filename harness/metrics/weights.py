"""Published weights on this machine: from the hub's cache, or fetched into it."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.core.errors import HarnessError
from harness.metrics.encoders import hash_file

if TYPE_CHECKING:
    import torch

SECONDS_TO_ANSWER = 5.0


def hub_files(what: str, repo: str, names: Sequence[str], parameter: str) -> list[str]:
    """Paths of files of a hub repository, fetched if they are not in its cache.

    Raises HarnessError where they cannot be had, which says what to download and how to name it:
    `what` are "the weights of ...", `parameter` is `hpsv2(checkpoint=PATH)`.
    """
    from huggingface_hub import hf_hub_download

    found = [cached(repo, [name]) for name in names]
    held = [path for path in found if path]
    if len(held) == len(names):
        return held
    reason = hub_problem()
    if reason is None:
        try:
            return [str(hf_hub_download(repo, name)) for name in names]
        except Exception as error:  # whatever the network does, say what to get from where
            reason = str(error).splitlines()[0]
    raise absent(what, reason, place(repo, names), parameter)


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
        problem = str(error).splitlines()[0]
        raise HarnessError(f"{path} does not load as {what}: {problem}") from error
    if not isinstance(found, dict):
        raise HarnessError(f"{path} does not load as {what}: it holds a {type(found).__name__}")
    return found


def absent(what: str, reason: str, where: str, parameter: str) -> HarnessError:
    """The error for weights that cannot be had, with what to do."""
    several = " and " in where
    return HarnessError(
        f"{what} are not on this machine and cannot be fetched: {reason}. Download {where} where "
        f"there is a network, and name the {'folder' if several else 'file'} as a parameter: "
        f"{parameter}"
    )


def place(repo: str, names: Sequence[str]) -> str:
    """Where files are to be had, in words."""
    files = (
        f"files {', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else f"file {names[0]}"
    )
    return f"{_hub()}/{repo} ({files})"


def cached(repo: str, names: Iterable[str]) -> str | None:
    """Path of the first of these files that the hub's cache holds."""
    from huggingface_hub import try_to_load_from_cache

    for name in names:
        found = try_to_load_from_cache(repo, name)
        if isinstance(found, str):
            return found
    return None


def hub_problem() -> str | None:
    """Why the hub cannot be asked; None if it answers. Its own client retries for a minute."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        request = urllib.request.Request(_hub(), method="HEAD")
        urllib.request.urlopen(request, timeout=SECONDS_TO_ANSWER).close()
    except urllib.error.HTTPError:
        return None
    except (OSError, ValueError) as error:
        return f"{_hub()} does not answer ({getattr(error, 'reason', error)})"
    return None


def digest(path: str) -> str:
    """SHA-256 of a file; the hub's cache names large files by it."""
    blob = Path(path).resolve().name
    return blob if re.fullmatch(r"[0-9a-f]{64}", blob) else hash_file(path)


def _hub() -> str:
    from huggingface_hub import constants

    return str(constants.ENDPOINT)
