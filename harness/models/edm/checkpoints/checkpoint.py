"""Published checkpoints: their networks, and the plain values beside them."""

from __future__ import annotations

import math
import mmap
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from harness.core.errors import HarnessError, unknown
from harness.fetch.pickles.arrays import StoredArray
from harness.fetch.pickles.machine import Budget, Machine, Refused, show
from harness.models.edm.checkpoints import torch_files
from harness.models.edm.checkpoints.stand_ins import Instance, StoredTensor

_STEPS = 1_000_000
_MAX_DEPTH = 50
_MODULE_NAME = re.compile(r"\w[\w-]{0,99}", re.ASCII)
_HOOKS = re.compile(r"_\w*|training|T_destination|dump_patches|call_super_init")
_MISSING = object()


@dataclass(frozen=True)
class StoredNetwork:
    """A network of a checkpoint: its class, constructor arguments and stored tensors.

    `class_name` is None where the file holds tensors by name only. `attributes` are the instance's
    plain values (img_resolution, label_dim, sigma_data ...); `tensors` the parameters and
    persistent buffers by the names of its state_dict, not read yet.
    """

    class_name: str | None
    init_kwargs: Mapping[str, Any]
    attributes: Mapping[str, Any]
    tensors: Mapping[str, StoredTensor]

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Its tensors, in the file's dtypes, copied to memory on the CPU."""
        return {name: tensor.load() for name, tensor in self.tensors.items()}

    def known_class(self, source: str) -> str:
        """The name of its class. Raises HarnessError, which names `source`, if it is unknown."""
        if self.class_name is None:
            raise HarnessError(
                f"{source} holds weights without their network: what it was is not in it. To run "
                "it, write a .json of its name beside it that holds class_name and init_kwargs"
            )
        return self.class_name

    @property
    def parameters(self) -> int:
        """The number of its parameters (of all tensors' elements, where none are marked)."""
        marked = [t for t in self.tensors.values() if t.parameter] or self.tensors.values()
        return sum(math.prod(tensor.shape) for tensor in marked)


@dataclass(frozen=True)
class Checkpoint:
    """A file's networks by key (`ema` ...), and the plain values of its other keys."""

    path: Path
    form: str
    networks: Mapping[str, StoredNetwork]
    others: Mapping[str, Any]

    @property
    def default(self) -> str | None:
        """The key of the default network: `ema`, or the only one."""
        if "ema" in self.networks:
            return "ema"
        return next(iter(self.networks)) if len(self.networks) == 1 else None

    def network(self, key: str | None = None) -> StoredNetwork:
        """The network of a key; without one, the default.

        Raises HarnessError if the file has none, or has several without `ema` and no key is given.
        """
        if not self.networks:
            raise HarnessError(
                f"{self.path} holds no network: its keys are {', '.join(self.others) or 'none'}"
            )
        key = key or self.default
        if key is None:
            names = ", ".join(self.networks)
            raise HarnessError(f"{self.path} holds several networks, choose one of: {names}")
        if key not in self.networks:
            raise unknown("network", key, self.networks, where=str(self.path))
        return self.networks[key]


def read_checkpoint(path: str | Path) -> Checkpoint:
    """A `.pkl` of EDM or EDM2, or a `.pt` of torch.save, read without executing anything in it.

    Weights are read by `state_dict` only; the parse is cached until the file changes. Raises
    HarnessError with a one-line reason for any other file.
    """
    path = Path(path).expanduser()
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise HarnessError(f"{path} cannot be read: {_reason(error)}") from None
    if not path.is_file():
        raise HarnessError(f"{path} is not a file")
    return _read(path, status.st_mtime_ns, status.st_size, status.st_ino)


@lru_cache(maxsize=8)
def _read(path: Path, changed: int, size: int, inode: int) -> Checkpoint:
    try:
        if not size:
            raise Refused("it is empty")
        with path.open("rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        budget = Budget(_STEPS)
        form, value = _parse(path, data, budget)
        return _Assembly(budget, len(data)).checkpoint(path, form, value)
    except Refused as refused:
        raise HarnessError(f"{path} was not loaded: {refused}") from None
    except MemoryError:
        raise HarnessError(f"{path} was not loaded: out of memory") from None
    except OSError as error:
        raise HarnessError(f"{path} cannot be read: {_reason(error)}") from None


def _reason(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or str(error)


def _parse(path: Path, data: memoryview, budget: Budget) -> tuple[str, Any]:
    start = bytes(data[:512])
    if start.startswith(torch_files.LEGACY_START):
        return "torch.save stream", torch_files.read_legacy(data, budget)
    if start.startswith(b"PK\x03\x04"):
        return "torch.save archive", torch_files.read_zip(path, data, budget)
    if not start.startswith(b"\x80"):
        raise Refused(_other_kind(start))
    machine = Machine(data, torch_files.symbols(budget), budget)
    value = machine.load()
    if machine.position != len(data):
        raise Refused(f"it is damaged: {len(data) - machine.position} bytes follow the pickle")
    return "pickle", value


def _other_kind(start: bytes) -> str:
    """The kind of a file that is no checkpoint, for the message."""
    text = start.lstrip().lower()
    kinds = [
        (
            text.startswith(b"version https://git-lfs"),
            "it is a Git LFS pointer, not the file itself: run 'git lfs pull'",
        ),
        (
            text.startswith((b"<!doctype", b"<html", b"<?xml")),
            "it is a web page, not a checkpoint: the download failed, download it again",
        ),
        (start.startswith(b"\x1f\x8b"), "it is compressed with gzip: unpack it first"),
        (
            start[8:9] == b"{",
            "it is a safetensors file: call it .safetensors, with its .json beside it",
        ),
    ]
    other = "it is neither a pickle of protocol 2 or later nor a file of torch.save"
    return next((what for matches, what in kinds if matches), other)


class _Assembly:
    """Builds networks and plain values from a file's stand-ins, at bounded cost."""

    def __init__(self, budget: Budget, size: int) -> None:
        self._budget, self._size = budget, size

    def checkpoint(self, path: Path, form: str, value: Any) -> Checkpoint:
        if type(value) is not dict or not all(isinstance(key, str) for key in value):
            raise Refused(f"it holds a {_kind(value)}, not networks by name")
        if weights := self._weights(value):
            return Checkpoint(path, form, {"weights": weights}, {})
        networks, others = {}, {}
        for key, part in value.items():
            if not _MODULE_NAME.fullmatch(key):
                raise Refused(f"it is damaged: {show(key)} as the name of a network")
            if network := self._network(part):
                networks[key] = network
            else:
                plain = self._plain(part)
                others[key] = None if plain is _MISSING else plain
        return Checkpoint(path, form, networks, others)

    def _weights(self, value: dict[str, Any]) -> StoredNetwork | None:
        """Tensors by name, a network's without the network; None for anything else."""
        if not value or not all(isinstance(tensor, StoredTensor) for tensor in value.values()):
            return None
        for part in ".".join(value).split("."):
            self._check_name(part)
        self._check_size(value)
        return StoredNetwork(None, {}, {}, dict(value))

    def _network(self, value: Any) -> StoredNetwork | None:
        """The value as a network, if it has parameters, else None."""
        if type(value) is dict and value and all(isinstance(k, str) for k in value):
            return self._weights(value)
        if not isinstance(value, Instance):
            return None
        tensors: dict[str, StoredTensor] = {}
        self._collect(value, "", tensors, 0)
        if not any(tensor.parameter for tensor in tensors.values()):
            return None
        self._check_size(tensors)
        state = value.state or {}
        kwargs = self._plain(state.get("_init_kwargs", {}), strict=True)
        named = isinstance(kwargs, dict) and all(isinstance(name, str) for name in kwargs)
        if state.get("_init_args") not in (None, (), []) or not named:
            raise Refused(f"its {value.class_name} was not made by keyword arguments alone")
        return StoredNetwork(value.class_name, kwargs, self._plain(_public(state)), tensors)

    def _check_size(self, tensors: Mapping[str, StoredTensor]) -> None:
        """Raise Refused for tensors that share storages so often that they would fill memory."""
        if sum(tensor.nbytes for tensor in tensors.values()) > self._size:
            raise Refused("its tensors are larger than the file")

    def _check_name(self, name: Any) -> str:
        if isinstance(name, str) and _MODULE_NAME.fullmatch(name) and name != "__metadata__":
            return name
        raise Refused(f"it is damaged: {show(name)} as the name of a tensor or module")

    def _collect(
        self, module: Instance, prefix: str, tensors: dict[str, StoredTensor], depth: int
    ) -> None:
        """Add the tensors of a module and those within it, in the order of a state_dict."""
        if depth > _MAX_DEPTH:
            raise Refused(f"its modules are nested more than {_MAX_DEPTH} deep")
        state = module.state or {}
        transient = state.get("_non_persistent_buffers_set")
        transient = transient if type(transient) is set else set()
        for table in ("_parameters", "_buffers"):
            for name, tensor in _items(state, table):
                self._budget.spend()
                if tensor is None or (table == "_buffers" and name in transient):
                    continue
                if not isinstance(tensor, StoredTensor):
                    raise Refused(f"it is damaged: {show(name)} is a {_kind(tensor)}, no tensor")
                tensors[prefix + self._check_name(name)] = tensor
        for name, child in _items(state, "_modules"):
            self._budget.spend(1 + len(prefix) // 64)
            if child is None:
                continue
            if not isinstance(child, Instance):
                raise Refused(f"it is damaged: {show(name)} is a {_kind(child)}, no module")
            self._collect(child, f"{prefix}{self._check_name(name)}.", tensors, depth + 1)

    def _plain(self, value: Any, depth: int = 0, *, strict: bool = False) -> Any:
        """A value as JSON data; other values are left out, or refused if `strict`."""
        self._budget.spend()
        if depth > _MAX_DEPTH:
            raise Refused(f"its values are nested more than {_MAX_DEPTH} deep")
        match value:
            case None | bool() | int() | float():
                return value
            case str():
                self._budget.spend(len(value) // 64)
                return value
            case StoredArray():
                self._budget.spend(len(value.data))
                return value.tolist()
            case list() | tuple():
                parts = [self._plain(part, depth + 1, strict=strict) for part in value]
                return _MISSING if any(part is _MISSING for part in parts) else parts
            case dict() if type(value) is dict:
                pairs = [(k, self._plain(v, depth + 1, strict=strict)) for k, v in value.items()]
                return {name: part for name, part in pairs if part is not _MISSING}
            case Instance() if not strict:
                inner = self._plain(_public(value.state or {}), depth + 1)
                return {"class_name": value.class_name, **inner}
        if strict:
            raise Refused(f"an argument of its network's class is a {_kind(value)}, no plain value")
        return _MISSING


def _public(state: Mapping[Any, Any]) -> dict[str, Any]:
    """The attributes of an instance without its modules and torch's own."""
    return {k: v for k, v in state.items() if isinstance(k, str) and not _HOOKS.fullmatch(k)}


def _items(state: Mapping[Any, Any], table: str) -> Any:
    entries = state.get(table, {})
    if type(entries) is not dict:
        raise Refused(f"it is damaged: {table} of a module is a {_kind(entries)}")
    return entries.items()


def _kind(value: object) -> str:
    return value.class_name if isinstance(value, Instance) else type(value).__name__
