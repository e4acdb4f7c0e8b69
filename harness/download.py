"""Files from the network, and where they are kept on this machine."""

from __future__ import annotations

import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO

from harness.errors import HarnessError

TIMEOUT = 30.0
"""Seconds without a byte until a download counts as failed."""


def cache_root() -> Path:
    """`$HARNESS_CACHE`, else `~/.cache/sampler-harness`."""
    chosen = os.environ.get("HARNESS_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "sampler-harness"


def fetch(url: str, into: IO[bytes]) -> None:
    """Copy what an http(s) URL serves; shows a progress bar on a terminal.

    Raises HarnessError if it cannot be reached, refuses, or ends early.
    """
    from rich.console import Console
    from rich.progress import wrap_file

    request = urllib.request.Request(url, headers={"User-Agent": "sampler-harness"})
    console = Console(stderr=True)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            size = int(answer.headers.get("Content-Length") or 0)
            name = url.split("?")[0].rsplit("/", 1)[-1]
            quiet = not console.is_terminal or size < 1 << 20
            with wrap_file(answer, size, description=name, console=console, disable=quiet) as body:
                got = _copy(body, into)
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = error.reason if type(error) is urllib.error.URLError else error
        raise HarnessError(f"cannot download {url}: {reason}") from None
    if size and got != size:
        raise HarnessError(f"cannot download {url}: it ended after {got} of {size} bytes")


def _copy(source: IO[bytes], into: IO[bytes]) -> int:
    total = 0
    while chunk := source.read(1 << 20):
        into.write(chunk)
        total += len(chunk)
    return total


def sum_path(path: Path) -> Path:
    """Where the sha256 of a kept file is recorded, as `sha256sum` writes it."""
    return path.with_name(path.name + ".sha256")


def recorded(path: Path, digest: str) -> bool:
    """Whether the sha256 of the file at `path` is recorded beside it.

    Raises HarnessError if another one is.
    """
    sums = sum_path(path)
    if not sums.is_file():
        return False
    found = sums.read_text(errors="replace").split()[:1]
    if found != [digest]:
        raise HarnessError(
            f"{path} has changed since it was kept: its sha256 is {digest}, recorded is "
            f"{''.join(found) or 'none'}. Delete it to download it again, or delete "
            f"{sums.name} to accept it as it is"
        )
    return True
