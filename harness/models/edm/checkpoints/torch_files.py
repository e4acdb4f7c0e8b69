"""Safe readers of torch.save's two formats: the legacy stream and the zip archive."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from harness.fetch.pickles.arrays import size_of
from harness.fetch.pickles.machine import Budget, Machine, Refused, Symbol, Symbols, show
from harness.models.edm.checkpoints.stand_ins import STORAGES, Storage, table

LEGACY_START = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_LEGACY_PROTOCOL = 1001
_MAX_DIRECTORY = 16 << 20


def symbols(budget: Budget) -> Symbols:
    """The table of stand-ins, with this module's reader of nested storages."""

    def nested(data: memoryview | bytes) -> Storage:
        value = read_legacy(memoryview(data), budget)
        if not isinstance(value, Storage):
            raise Refused(f"a nested storage holds a {show(value)}")
        return value

    return table(budget, nested)


def read_legacy(data: memoryview, budget: Budget) -> Any:
    """The value of a legacy torch.save stream: five pickles, then the storages' data."""
    storages: dict[str, Storage] = {}
    machine = Machine(data, symbols(budget), budget)
    if bytes(data[: len(LEGACY_START)]) != LEGACY_START:
        raise Refused("a nested storage is not a stream of torch.save")
    machine.load()
    version, system = machine.load(), machine.load()
    if version != _LEGACY_PROTOCOL or not isinstance(system, dict):
        raise Refused(f"it is of torch.save's protocol {show(version)}: 1001 can be read")
    if system.get("little_endian") is not True:
        raise Refused("its numbers are big-endian")

    def persistent(reference: Any) -> Storage | Symbol:
        match reference:
            case ("module", Symbol() as kind, _, _):  # a class of torch's, with its source
                return kind
            case ("storage", Symbol() as kind, str(name), str(), numel, None):
                new = Storage(_dtype(kind), size_of(numel))
                return _same(storages.setdefault(name, new), name, kind, numel)
        raise Refused("it refers to something that is not a storage of its own")

    body = Machine(data, symbols(budget), budget, persistent)
    body.position = machine.position
    value = body.load()
    machine.position = body.position
    _read_storages(machine, machine.load(), storages)
    return value


def _read_storages(machine: Machine, names: Any, storages: dict[str, Storage]) -> None:
    valid = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not valid or sorted(names) != sorted(storages):
        raise Refused("it is damaged: its storages are not those that it refers to")
    for name in names:
        storage = storages[name]
        (count,) = struct.unpack("<q", machine.take(8))
        if count != storage.numel:
            raise Refused(f"a storage of {storage.numel} numbers says that it has {count}")
        storage.fill(machine.take(count * storage.dtype.itemsize))


def _same(storage: Storage, name: str, kind: Symbol, numel: object) -> Storage:
    if storage.dtype != _dtype(kind) or storage.numel != numel:
        raise Refused(f"its storage {show(name)} is of two types or sizes")
    return storage


def _dtype(kind: Symbol) -> torch.dtype:
    name = kind.name.removeprefix("torch.")
    if name not in STORAGES:
        raise Refused(f"{kind.name} as the type of a storage")
    return STORAGES[name]


def read_zip(path: Path, data: memoryview, budget: Budget) -> Any:
    """The value of a torch.save archive, whose members are stored uncompressed."""
    members = dict(_members(path, data))
    pickles = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise Refused("it is a zip archive, but not one of torch.save: it has no data.pkl")
    folder = pickles[0].removesuffix("data.pkl")
    if bytes(members.get(f"{folder}byteorder", memoryview(b"little"))[:10]) != b"little":
        raise Refused("its numbers are big-endian")
    storages: dict[str, Storage] = {}

    def persistent(reference: Any) -> Storage:
        match reference:
            case ("storage", Symbol() as kind, str(name), str(), numel):
                pass
            case _:
                raise Refused("it refers to something that is not a storage of its own")
        if name not in storages:
            if f"{folder}data/{name}" not in members:
                raise Refused(f"its storage {show(name)} is missing")
            storages[name] = Storage(_dtype(kind), size_of(numel))
            storages[name].fill(members[f"{folder}data/{name}"])
        return _same(storages[name], name, kind, numel)

    return Machine(members[pickles[0]], symbols(budget), budget, persistent).load()


class _Directory(io.FileIO):
    """A file for reading an archive's directory; refuses reads of more than 16 MiB."""

    def read(self, size: int | None = -1, /) -> bytes:
        left = os.fstat(self.fileno()).st_size - self.tell()
        wanted = left if size is None or size < 0 else min(size, left)
        if wanted > _MAX_DIRECTORY:
            raise Refused("it is a zip archive with a directory of more than 16 MiB")
        return super().read(max(wanted, 0)) or b""


def _members(path: Path, data: memoryview) -> Iterator[tuple[str, memoryview]]:
    """The names and contents of an archive's members, as views of the file."""
    try:
        with _Directory(path) as file, zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, OSError):
        raise Refused("it begins as a zip archive, but is truncated or damaged") from None
    for entry in entries:
        start = entry.header_offset
        header = data[start : start + 30] if start >= 0 else data[:0]
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            raise Refused(f"its member {show(entry.filename)} is compressed or encrypted")
        if len(header) < 30 or header[:4] != b"PK\x03\x04":
            raise Refused(f"it is damaged: its member {show(entry.filename)} is not where it says")
        name_size, extra_size = struct.unpack("<HH", header[26:30])
        start += 30 + name_size + extra_size
        if entry.compress_size != entry.file_size or start + entry.file_size > len(data):
            raise Refused(f"it is damaged: its member {show(entry.filename)} goes past its end")
        yield entry.filename, data[start : start + entry.file_size]
