"""Disks that are full and stores that do not answer: one message, and no bucket is ever made."""

from __future__ import annotations

import errno
import os
from typing import ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from harness.core.errors import HarnessError
from harness.store import files


class Buckets(MemoryFileSystem):
    """A store of keys in buckets; its client's errors are of no common kind."""

    protocol = ("s3-like", "s3")
    made: ClassVar[list[str]] = []
    down = False

    def makedirs(self, path, exist_ok=False):
        self.made.append(path)

    def pipe_file(self, path, value, **options):
        if self.down:
            raise RuntimeError('Could not connect to the endpoint URL: "http://127.0.0.1:9"')
        if "here" not in path:
            raise FileNotFoundError("The specified bucket does not exist")
        super().pipe_file(path, value, **options)

    def exists(self, path, **options):
        if self.down:
            raise RuntimeError('Could not connect to the endpoint URL: "http://127.0.0.1:9"')
        return super().exists(path, **options)


@pytest.fixture
def buckets(monkeypatch):
    fsspec.register_implementation("s3-like", Buckets, clobber=True)
    monkeypatch.setattr(Buckets, "made", [])
    return Buckets


def test_a_mistyped_bucket_is_not_made(buckets):
    with pytest.raises(HarnessError, match=r"there is no bucket 'mistyped'.*none is made"):
        files.write_bytes("s3-like://mistyped/run/run.json", b"x")
    files.write_bytes("s3-like://here/run/run.json", b"x")
    assert files.read_bytes("s3-like://here/run/run.json") == b"x"
    assert buckets.made == []


def test_a_store_that_does_not_answer_is_one_message(buckets, monkeypatch):
    monkeypatch.setattr(Buckets, "down", True)
    for use in (files.exists, lambda path: files.write_bytes(path, b"x")):
        with pytest.raises(HarnessError, match=r"cannot reach s3-like://here/x: Could not connect"):
            use("s3-like://here/x")


def test_a_full_disk_is_one_message_and_leaves_nothing(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(HarnessError, match=r"cannot write .*x.json: No space left on device"):
        files.write_bytes(str(tmp_path / "x.json"), b"x")
    assert os.listdir(tmp_path) == []
