"""What stands for the few globals that published checkpoints name: inert, and checked."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from harness.models.pickles.machine import Budget, Buildable, Refused, Symbol, Symbols, key, show

_MAX_DIMENSIONS = 8
_NUMBERS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")
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
    """`numel` numbers of a type; their bytes may follow later in the file."""

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
    """A tensor in the file: known to lie within its storage, copied from it on demand."""

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
        """The tensor, contiguous, in memory of its own; its numbers are copied once."""
        if not self.nbytes:
            return torch.empty(self.shape, dtype=self.dtype)
        size = self.dtype.itemsize
        start, stop = self.offset * size, (_last(self.offset, self.shape, self.stride) + 1) * size
        # as bytes: numbers in a pickle lie at odd addresses
        flat = torch.empty(stop - start, dtype=torch.uint8)
        flat.numpy()[:] = np.frombuffer(self.storage.data[start:stop], np.uint8)
        return flat.view(self.dtype).as_strided(self.shape, self.stride).contiguous()


@dataclass(eq=False)
class StoredArray(Buildable):
    """A NumPy array in the file."""

    shape: tuple[int, ...] = ()
    dtype: np.dtype[Any] | None = None
    order: str = "C"
    data: memoryview | bytes = field(default=b"", repr=False)

    def build(self, state: Any) -> None:
        match state:
            case (int(), tuple(shape), NumpyType() as kind, bool(fortran), memoryview() | bytes()):
                data = state[4]
            case _:
                raise Refused("it is damaged: the state of a NumPy array is none")
        _check_sizes(shape)
        if self.dtype is not None or math.prod(shape) * kind.dtype.itemsize != len(data):
            raise Refused(f"a NumPy array of shape {show(str(shape))} has {len(data)} bytes")
        self.shape, self.dtype, self.data = shape, kind.dtype, data
        self.order = "F" if fortran else "C"

    def tolist(self) -> Any:
        """Its numbers as nested lists."""
        if self.dtype is None:
            return []
        flat = np.frombuffer(self.data, self.dtype)
        return flat.reshape(self.shape, order="F" if self.order == "F" else "C").tolist()


@dataclass(eq=False)
class NumpyType(Buildable):
    """A NumPy number type, little-endian."""

    dtype: np.dtype[Any]

    def build(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", "|", "="):
            raise Refused("a NumPy type is not a plain little-endian number")


@dataclass(eq=False)
class Instance(Buildable):
    """An object in the file: the name of its class, and what its __dict__ held."""

    class_name: str
    state: dict[str, Any] | None = None

    def build(self, state: Any) -> None:
        if self.state is not None or type(state) is not dict:
            raise Refused(f"it is damaged: the state of a {self.class_name} is none")
        self.state = state


def table(budget: Budget, load_bytes: Callable[[memoryview | bytes], Storage]) -> Symbols:
    """The fixed table of stand-ins; `load_bytes` reads a nested storage."""
    makers = _Makers(budget)
    rows: dict[tuple[str, str], Symbol] = {}

    def add(
        module: str,
        name: str,
        call: Callable[[tuple[Any, ...]], Any] | None = None,
        new: Callable[[], Any] | None = None,
    ) -> None:
        rows[module, name] = Symbol(f"{module}.{name}", call, new)

    def storage(arguments: tuple[Any, ...]) -> Storage:
        match arguments:
            case (memoryview() | bytes(),):
                return load_bytes(arguments[0])
        raise _damaged("torch.storage._load_from_bytes")

    add("torch_utils.persistence", "_reconstruct_persistent_obj", persistent_object)
    add("dnnlib.util", "EasyDict", new=dict)
    add("collections", "OrderedDict", makers.ordered_dict, new=dict)
    for builtins in ("builtins", "__builtin__"):
        add(builtins, "set", makers.set_)
    add("_codecs", "encode", makers.encode)
    add("torch._utils", "_rebuild_tensor_v2", tensor)
    add("torch._utils", "_rebuild_parameter", parameter)
    add("torch.storage", "_load_from_bytes", storage)
    for name in STORAGES:
        add("torch", name)
    for name in ("ModuleDict", "ModuleList"):
        add("torch.nn.modules.container", name, new=partial(Instance, name))
    add("numpy", "dtype", numpy_type)
    add("numpy", "ndarray")
    for core in ("numpy.core.multiarray", "numpy._core.multiarray"):
        add(core, "scalar", numpy_scalar)
        add(core, "_reconstruct", numpy_array)
    return rows


@dataclass(frozen=True)
class _Makers:
    """Stand-ins that copy what they are given, and pay for it: it may be given often."""

    budget: Budget

    def ordered_dict(self, arguments: tuple[Any, ...]) -> dict[str | int, Any]:
        match arguments:
            case ():
                return {}
            case (list(pairs),):
                self.budget.spend(len(pairs))
                if all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs):
                    return {key(k): value for k, value in pairs}
        raise _damaged("collections.OrderedDict")

    def set_(self, arguments: tuple[Any, ...]) -> set[str | int]:
        match arguments:
            case (list(values),):
                self.budget.spend(len(values))
                return set(map(key, values))
        raise _damaged("set")

    def encode(self, arguments: tuple[Any, ...]) -> bytes:
        """How protocol 2 writes bytes."""
        match arguments:
            case (str(text), "latin1"):
                self.budget.spend(len(text) // 64)
                try:
                    return text.encode("latin1")
                except UnicodeEncodeError:
                    pass
        raise _damaged("_codecs.encode")


def persistent_object(arguments: tuple[Any, ...]) -> Instance:
    """An object with its class's source, which is left alone."""
    match arguments:
        case ({"type": "class", "version": 6, "class_name": str(name), "state": dict() as state},):
            if name.isascii() and name.isidentifier() and len(name) <= 100:
                return Instance(name, state)
        case ({"version": int(version)},) if version != 6:
            raise Refused(f"it is of persistence version {show(version)}: 6 can be read")
    raise _damaged("torch_utils.persistence._reconstruct_persistent_obj")


def tensor(arguments: tuple[Any, ...]) -> StoredTensor:
    """torch._utils._rebuild_tensor_v2, within the bounds of its storage."""
    match arguments:
        case (Storage() as storage, int(offset), tuple(shape), tuple(stride), bool(), hooks):
            pass
        case _:
            raise _damaged("torch._utils._rebuild_tensor_v2")
    _check_hooks(hooks)
    _check_sizes((offset,))
    _check_sizes(shape)
    _check_sizes(stride)
    count = math.prod(shape)
    last = _last(offset, shape, stride) if count else offset - 1
    if len(shape) != len(stride) or count > storage.numel or last >= storage.numel:
        raise Refused(
            f"a tensor of shape {list(shape)}, stride {list(stride)} and offset {offset} does not "
            f"fit its storage of {storage.numel}"
        )
    return StoredTensor(storage, offset, shape, stride)


def parameter(arguments: tuple[Any, ...]) -> StoredTensor:
    """torch._utils._rebuild_parameter."""
    match arguments:
        case (StoredTensor() as data, bool(), hooks):
            _check_hooks(hooks)
            return replace(data, parameter=True)
    raise _damaged("torch._utils._rebuild_parameter")


def numpy_type(arguments: tuple[Any, ...]) -> NumpyType:
    """numpy.dtype of a number."""
    match arguments:
        case (str(code), *_) if code in _NUMBERS:
            return NumpyType(np.dtype(f"<{code}"))
        case (str(code), *_):
            raise Refused(f"the NumPy type {show(code)} is not a plain number")
    raise _damaged("numpy.dtype")


def numpy_scalar(arguments: tuple[Any, ...]) -> float | int | bool:
    """A NumPy number as Python's."""
    match arguments:
        case (NumpyType() as kind, memoryview() | bytes()):
            if len(arguments[1]) == kind.dtype.itemsize:
                number: float | int | bool = np.frombuffer(arguments[1], kind.dtype)[0].item()
                return number
    raise _damaged("numpy.core.multiarray.scalar")


def numpy_array(arguments: tuple[Any, ...]) -> StoredArray:
    """An array, whose state follows."""
    match arguments:
        case (Symbol(name="numpy.ndarray"), (0,), memoryview() | bytes()):
            return StoredArray()
    raise _damaged("numpy.core.multiarray._reconstruct")


def size_of(value: object) -> int:
    """A count from the file. Raises Refused for what is none."""
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise Refused(f"it is damaged: {show(value)} as a size")
    return value


def _check_sizes(sizes: tuple[Any, ...]) -> None:
    if len(sizes) > _MAX_DIMENSIONS:
        raise Refused(f"it is damaged: a tensor of {len(sizes)} dimensions")
    for value in sizes:
        size_of(value)


def _check_hooks(hooks: object) -> None:
    if hooks is not None and hooks != {}:
        raise Refused("a tensor in it has hooks")


def _last(offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> int:
    """The position of the last number of a tensor in its storage."""
    return offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=False))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _damaged(name: str) -> Refused:
    return Refused(f"it gives {name} something it does not take, and nothing in it was executed")
