"""Stand-ins for NumPy's arrays and numbers in a pickle: inert, with checked sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.fetch.pickles.machine import Buildable, Refused, Symbol, show

_MAX_DIMENSIONS = 8
_NUMBERS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")


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
        check_sizes(shape)
        if self.dtype is not None or math.prod(shape) * kind.dtype.itemsize != len(data):
            raise Refused(f"a NumPy array of shape {show(str(shape))} has {len(data)} bytes")
        self.shape, self.dtype, self.data = shape, kind.dtype, data
        self.order = "F" if fortran else "C"

    def array(self) -> NDArray[Any]:
        """The array, a view of the file. Raises Refused if the file did not set its state."""
        if self.dtype is None:
            raise Refused("it is damaged: an array without its state")
        order: Literal["F", "C"] = "F" if self.order == "F" else "C"
        return np.frombuffer(self.data, self.dtype).reshape(self.shape, order=order)

    def tolist(self) -> Any:
        """Its numbers as nested lists."""
        return [] if self.dtype is None else self.array().tolist()


@dataclass(eq=False)
class NumpyType(Buildable):
    """A NumPy number type, little-endian."""

    dtype: np.dtype[Any]

    def build(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", "|", "="):
            raise Refused("a NumPy type is not a plain little-endian number")


def numpy_type(arguments: tuple[Any, ...]) -> NumpyType:
    """The stand-in for numpy.dtype(...), of numbers only."""
    match arguments:
        case (str(code), *_) if code in _NUMBERS:
            return NumpyType(np.dtype(f"<{code}"))
        case (str(code), *_):
            raise Refused(f"the NumPy type {show(code)} is not a plain number")
    raise damaged("numpy.dtype")


def numpy_scalar(arguments: tuple[Any, ...]) -> float | int | bool:
    """The Python number in place of a NumPy scalar."""
    match arguments:
        case (NumpyType() as kind, memoryview() | bytes()):
            if len(arguments[1]) == kind.dtype.itemsize:
                number: float | int | bool = np.frombuffer(arguments[1], kind.dtype)[0].item()
                return number
    raise damaged("numpy.core.multiarray.scalar")


def numpy_array(arguments: tuple[Any, ...]) -> StoredArray:
    """The stand-in for an empty array, whose state follows in the file."""
    match arguments:
        case (Symbol(name="numpy.ndarray"), (0,), memoryview() | bytes()):
            return StoredArray()
    raise damaged("numpy.core.multiarray._reconstruct")


def size_of(value: object) -> int:
    """The same count, checked. Raises Refused if it is no integer in [0, 2**62)."""
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise Refused(f"it is damaged: {show(value)} as a size")
    return value


def check_sizes(sizes: tuple[Any, ...]) -> None:
    """Raise Refused unless `sizes` are at most 8 valid counts."""
    if len(sizes) > _MAX_DIMENSIONS:
        raise Refused(f"it is damaged: a tensor of {len(sizes)} dimensions")
    for value in sizes:
        size_of(value)


def damaged(name: str) -> Refused:
    """The error for arguments that the global `name` does not take."""
    return Refused(f"it gives {name} something it does not take, and nothing in it was executed")


SYMBOLS = {
    ("numpy", "dtype"): Symbol("numpy.dtype", numpy_type),
    ("numpy", "ndarray"): Symbol("numpy.ndarray"),
}
for _core in ("numpy.core.multiarray", "numpy._core.multiarray"):
    SYMBOLS[_core, "scalar"] = Symbol(f"{_core}.scalar", numpy_scalar)
    SYMBOLS[_core, "_reconstruct"] = Symbol(f"{_core}._reconstruct", numpy_array)
