"""Writing to stores behind a URL, whose buckets are never made."""

from __future__ import annotations

import inspect
import os
from typing import Any

from harness.core.errors import HarnessError

_OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "oci", "r2", "hf"}


def is_object_store(fs: Any) -> bool:
    """Whether a file system has keys in buckets, which are not ours to make, and no folders."""
    names = [fs.protocol] if isinstance(fs.protocol, str) else fs.protocol
    return not _OBJECT_STORES.isdisjoint(names)


def upload(fs: Any, inner: str, data: bytes) -> bool:
    """Write a file; object stores publish a key only when its upload is complete."""
    return _put(fs, inner, data)


def upload_new(fs: Any, inner: str, data: bytes) -> bool:
    """Write a file that must not be there yet; False if it is, as far as the store knows how."""
    only_new = "mode" in inspect.signature(fs.pipe_file).parameters
    try:
        return _put(fs, inner, data, **({"mode": "create"} if only_new else {}))
    except FileExistsError:
        return False


def _put(fs: Any, inner: str, data: bytes, **how: str) -> bool:
    if not is_object_store(fs):  # a store has no folders, and making one would make a bucket
        fs.makedirs(os.path.dirname(inner), exist_ok=True)
    try:
        fs.pipe_file(inner, data, **how)
    except FileNotFoundError:
        bucket = inner.rpartition("://")[2].lstrip("/").split("/")[0]
        raise HarnessError(
            f"cannot write {inner}: there is no bucket {bucket!r}, and none is made"
        ) from None
    return True
