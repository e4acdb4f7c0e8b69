"""Paths that are URLs: the file systems behind them, and what they raise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from harness.core.errors import HarnessError

T = TypeVar("T")


def is_url(path: str) -> bool:
    """Whether a path is not one of this machine's own."""
    return "://" in path and not path.startswith("file://")


class Unreachable(HarnessError, OSError):
    """Raised where a store behind a URL does not answer, or refuses."""


def file_system(path: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it."""
    import fsspec

    try:
        fs, inner = fsspec.core.url_to_fs(path)
        fs.invalidate_cache(inner)  # another process may have written since a folder was listed
    except (ImportError, ValueError) as error:
        raise HarnessError(f"cannot open {path!r}: {error}") from None
    except Exception as error:
        raise _unreachable(path, error) from None
    return fs, inner


def on(path: str, local: Callable[[str], T], remote: Callable[[Any, str], T]) -> T:
    """A function of a local path, or the same of an fsspec file system and a path in it."""
    if not is_url(path):
        return local(path)
    fs, inner = file_system(path)
    try:
        return remote(fs, inner)
    except (FileNotFoundError, FileExistsError, HarnessError):
        raise
    except Exception as error:
        raise _unreachable(path, error) from None


def _unreachable(path: str, error: Exception) -> Unreachable:
    """Each store's client has its own errors: no network, no rights."""
    return Unreachable(f"cannot reach {path}: {error or type(error).__name__}")
