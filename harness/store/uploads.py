"""Writing to stores behind a URL, whose buckets are never made."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import Any

from harness.core.errors import HarnessError

_OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "oci", "r2", "hf"}


def is_object_store(fs: Any) -> bool:
    """Whether a file system has keys in buckets, which are not ours to make, and no folders."""
    names = [fs.protocol] if isinstance(fs.protocol, str) else fs.protocol
    return not _OBJECT_STORES.isdisjoint(names)


def upload(fs: Any, inner: str, data: bytes) -> bool:
    """Write a file; object stores publish a key only when its upload is complete."""
    return _put(fs, inner, lambda: fs.pipe_file(inner, data))


def upload_file(fs: Any, inner: str, path: str) -> bool:
    """Write a file with the content of a local one."""
    return _put(fs, inner, lambda: fs.put_file(path, inner))


def upload_new(fs: Any, inner: str, data: bytes) -> bool:
    """Write a file that must not be there yet; False if it is, as far as the store knows how."""
    only_new = "mode" in inspect.signature(fs.pipe_file).parameters
    how = {"mode": "create"} if only_new else {}
    try:
        return _put(fs, inner, lambda: fs.pipe_file(inner, data, **how))
    except FileExistsError:
        return False


def _put(fs: Any, inner: str, write: Callable[[], object]) -> bool:
    if not is_object_store(fs):  # a store has no folders, and making one would make a bucket
        fs.makedirs(os.path.dirname(inner), exist_ok=True)
    try:
        write()
    except FileNotFoundError:
        raise HarnessError(
            f"cannot write {inner}: there is no {_bucket(fs, inner)}, and none is made"
        ) from None
    return True


def _bucket(fs: Any, inner: str) -> str:
    """What would have to be there before anything is written, in words."""
    parts = inner.rpartition("://")[2].lstrip("/").split("/")
    if "hf" in fs.protocol:
        repository = parts[1:3] if parts[0] in ("datasets", "spaces", "models") else parts[:2]
        return f"repository {'/'.join(repository)!r}"
    return f"bucket {parts[0]!r}"
