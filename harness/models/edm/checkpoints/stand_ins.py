"""Inert, checked stand-ins for the few globals that published checkpoints name."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from harness.fetch.pickles import arrays
from harness.fetch.pickles.arrays import check_sizes, damaged
from harness.fetch.pickles.machine import Budget, Buildable, Refused, Symbol, Symbols, key, show

STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


@dataclass(eq=False)
class Storage:
    """A storage of `numel` numbers; its bytes may follow later in the file."""

    dtype: torch.dtype
    numel: int
    data: memoryview = field(default=memoryview(b""), repr=False)

    def fill(self, data: memoryview) -> None:
        if len(data) != self.numel * self.dtype.itemsize:
            raise Refused(
                f"a storage of {self.numel} {_name(self.dtype)} has {len(data)} bytes of data"
            )
        self.data = data


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor in the file, checked to lie within its storage; `load` copies it."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    parameter: bool = False

    @property
    def dtype(self) -> torch.dtype:
        return self.storage.dtype

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def load(self) -> torch.Tensor:
        """A contiguous copy of the tensor; its numbers are copied once."""
        if not self.nbytes:
            return torch.empty(self.shape, dtype=self.dtype)
        size = self.dtype.itemsize
        start, stop = self.offset * size, (_last(self.offset, self.shape, self.stride) + 1) * size
        # as bytes: numbers in a pickle lie at odd addresses
        flat = torch.empty(stop - start, dtype=torch.uint8)
        flat.numpy()[:] = np.frombuffer(self.storage.data[start:stop], np.uint8)
        return flat.view(self.dtype).as_strided(self.shape, self.stride).contiguous()


@dataclass(eq=False)
class Instance(Buildable):
    """An object in the file: the name of its class, and its __dict__."""

    class_name: str
    state: dict[str, Any] | None = None

    def build(self, state: Any) -> None:
        if self.state is not None or type(state) is not dict:
            raise Refused(f"it is damaged: the state of a {self.class_name} is none")
        self.state = state


def table(budget: Budget, load_bytes: Callable[[memoryview | bytes], Storage]) -> Symbols:
    """The fixed table of stand-ins; `load_bytes` reads a nested storage."""
    makers = _Makers(budget)

    def storage(arguments: tuple[Any, ...]) -> Storage:
        match arguments:
            case (memoryview() | bytes(),):
                return load_bytes(arguments[0])
        raise damaged("torch.storage._load_from_bytes")

    calls: dict[tuple[str, str], Callable[[tuple[Any, ...]], Any]] = {
        ("torch_utils.persistence", "_reconstruct_persistent_obj"): persistent_object,
        ("collections", "OrderedDict"): makers.ordered_dict,
        ("builtins", "set"): makers.set_,
        ("__builtin__", "set"): makers.set_,
        ("_codecs", "encode"): makers.encode,
        ("torch._utils", "_rebuild_tensor_v2"): tensor,
        ("torch._utils", "_rebuild_parameter"): parameter,
        ("torch.storage", "_load_from_bytes"): storage,
    }
    news: dict[tuple[str, str], Callable[[], Any]] = {
        ("dnnlib.util", "EasyDict"): dict,
        ("collections", "OrderedDict"): dict,
        ("torch.nn.modules.container", "ModuleDict"): partial(Instance, "ModuleDict"),
        ("torch.nn.modules.container", "ModuleList"): partial(Instance, "ModuleList"),
    }
    names = [*calls, *news, *(("torch", name) for name in STORAGES)]
    ours = {name: Symbol(".".join(name), calls.get(name), news.get(name)) for name in names}
    return {**arrays.SYMBOLS, **ours}


@dataclass(frozen=True)
class _Makers:
    """Stand-ins that copy their arguments, and charge the budget for each copy."""

    budget: Budget

    def ordered_dict(self, arguments: tuple[Any, ...]) -> dict[str | int, Any]:
        match arguments:
            case ():
                return {}
            case (list(pairs),):
                self.budget.spend(len(pairs))
                if all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs):
                    return {key(k): value for k, value in pairs}
        raise damaged("collections.OrderedDict")

    def set_(self, arguments: tuple[Any, ...]) -> set[str | int]:
        match arguments:
            case (list(values),):
                self.budget.spend(len(values))
                return set(map(key, values))
        raise damaged("set")

    def encode(self, arguments: tuple[Any, ...]) -> bytes:
        """The stand-in for _codecs.encode, which protocol 2 writes bytes with."""
        match arguments:
            case (str(text), "latin1"):
                self.budget.spend(len(text) // 64)
                try:
                    return text.encode("latin1")
                except UnicodeEncodeError:
                    pass
        raise damaged("_codecs.encode")


def persistent_object(arguments: tuple[Any, ...]) -> Instance:
    """The stand-in for a persistent object; the source of its class is ignored."""
    match arguments:
        case ({"type": "class", "version": 6, "class_name": str(name), "state": dict() as state},):
            if name.isascii() and name.isidentifier() and len(name) <= 100:
                return Instance(name, state)
        case ({"version": int(version)},) if version != 6:
            raise Refused(f"it is of persistence version {show(version)}: 6 can be read")
    raise damaged("torch_utils.persistence._reconstruct_persistent_obj")


def tensor(arguments: tuple[Any, ...]) -> StoredTensor:
    """The stand-in for torch._utils._rebuild_tensor_v2; checks the bounds of its storage."""
    match arguments:
        case (Storage() as storage, int(offset), tuple(shape), tuple(stride), bool(), hooks):
            pass
        case _:
            raise damaged("torch._utils._rebuild_tensor_v2")
    _check_hooks(hooks)
    for sizes in ((offset,), shape, stride):
        check_sizes(sizes)
    count = math.prod(shape)
    last = _last(offset, shape, stride) if count else offset - 1
    if len(shape) != len(stride) or count > storage.numel or last >= storage.numel:
        raise Refused(
            f"a tensor of shape {list(shape)}, stride {list(stride)} and offset {offset} does not "
            f"fit its storage of {storage.numel}"
        )
    return StoredTensor(storage, offset, shape, stride)


def parameter(arguments: tuple[Any, ...]) -> StoredTensor:
    """The stand-in for torch._utils._rebuild_parameter."""
    match arguments:
        case (StoredTensor() as data, bool(), hooks):
            _check_hooks(hooks)
            return replace(data, parameter=True)
    raise damaged("torch._utils._rebuild_parameter")


def _check_hooks(hooks: object) -> None:
    if hooks is not None and hooks != {}:
        raise Refused("a tensor in it has hooks")


def _last(offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> int:
    """The position of the last number of a tensor in its storage."""
    return offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=False))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
