"""Which files a collection made elsewhere may reach: regular ones below its own folder.

A table or a link that somebody else wrote may name any file of this machine, a device or a pipe.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path


class Boundary:
    """The files below a local folder, links resolved.

    A folder of the hub's cache (`snapshots/REVISION`) holds links into the `blobs` beside it.
    """

    def __init__(self, folder: str) -> None:
        root = Path(os.path.realpath(folder))
        self._folders = {str(root): str(root)}
        self._roots = [str(root)]
        for place in [root, *root.parents]:
            if place.name == "snapshots" and (place.parent / "blobs").is_dir():
                self._roots.append(os.path.realpath(place.parent / "blobs"))

    def problem(self, path: str) -> str | None:
        """Why a file is not to be read; None for a regular file inside."""
        folder, name = os.path.split(os.path.abspath(path))
        if folder not in self._folders:  # resolved once for all of its files
            self._folders[folder] = os.path.realpath(folder)
        real = os.path.join(self._folders[folder], name)
        if os.path.islink(real):
            real = os.path.realpath(real)
        if not any(real.startswith(root.rstrip(os.sep) + os.sep) for root in self._roots):
            return f"it lies outside of {self._roots[0]}, at {real}"
        return not_regular(real)


def not_regular(path: str) -> str | None:
    """Why a local path is no file that can be read to its end; None where it is, or is absent."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return None  # told by who opens it
    return None if stat.S_ISREG(mode) else f"it is {_kind(mode)}, not a file"


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFIFO: "a pipe",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFDIR: "a folder",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")
