"""Images in one array, as scripts of class-conditional models write their samples.

`.npz` with uint8 [N, H, W, 3] as `arr_0` (a second array holds the classes), or `.npy`. Arrays are
read picture by picture: fifty thousand of 256x256 are 10 GB.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import HarnessError
from harness.store import files
from harness.store.image_files import Entry, Images, open_zip
from harness.store.pictures import MOST_PIXELS, Broken

ARRAYS = (".npz", ".npy")
_STATISTICS = {"mu", "sigma"}
_LABELS_BYTES = 1 << 28


@dataclass(frozen=True)
class _Array:
    """An array of a file: its place in it, its header, and the length of that."""

    member: str | None  # of an .npz
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    start: int

    @property
    def kind(self) -> str:
        return f"{self.dtype} {list(self.shape)}"

    @property
    def holds_pictures(self) -> bool:
        if self.dtype != np.uint8 or self.fortran or len(self.shape) != 4:
            return False
        return self.shape[3] in (1, 3) or self.shape[1] in (1, 3)


class _Samples(Images):
    """Images in an array of a file; what is read in order is read once."""

    def __init__(self, path: str, array: _Array, entries: Sequence[Entry]) -> None:
        super().__init__(path, entries)
        self._array, self._at = array, 0
        self._stream: BinaryIO | None = None

    def read(self, start: int, stop: int) -> Iterator[tuple[Entry, bytes | Broken]]:
        size = math.prod(self._array.shape[1:])
        for at in range(start, min(stop, len(self.entries))):
            data = self._picture(at, size)
            yield self.entries[at], data

    def _picture(self, at: int, size: int) -> bytes | Broken:
        if self._stream is None or at < self._at:
            self._stream, self._at = _opened(self.path, self._array.member), 0
            _skip(self._stream, self._array.start)
        try:
            _skip(self._stream, (at - self._at) * size)
            data = self._stream.read(size)
        except (zipfile.BadZipFile, OSError, EOFError, zlib.error) as error:
            self._stream = None
            return Broken(f"broken array: {error}")
        self._at = at + 1
        if len(data) < size:
            self._stream = None
            return Broken("broken array: it ends early")
        return _png(np.frombuffer(data, np.uint8).reshape(self._array.shape[1:]))


def _skip(stream: BinaryIO, count: int) -> None:
    while count > 0 and (data := stream.read(min(count, 1 << 22))):
        count -= len(data)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    if pixels.shape[2] not in (1, 3):
        pixels = np.ascontiguousarray(pixels.transpose(1, 2, 0))
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()


def open_arrays(path: str) -> Images:
    """List the images of a `.npz` or `.npy`. Raises HarnessError where no array is of images."""
    if not files.exists(path):
        raise HarnessError(f"there is no file {path}")
    arrays = _headers(path)
    usual = [a for a in arrays if a.member == "arr_0.npy" and a.holds_pictures]
    found = usual or [array for array in arrays if array.holds_pictures]
    if len(found) != 1:
        raise HarnessError(f"{path} holds {_described(arrays)}: {_advice(arrays, len(found))}")
    images = found[0]
    count, *sides = images.shape
    if not count or math.prod(sides) == 0 or math.prod(sides) > 3 * MOST_PIXELS:
        raise HarnessError(f"{path}: there are no pictures in an array of {images.kind}")
    labels = _labels(path, arrays, count)
    stamp = files.stamp(path)
    entries = [Entry(f"{at:06d}", f"{stamp}-{at}", None, labels[at]) for at in range(count)]
    return _Samples(path, images, entries)


def load_arrays(
    path: str, names: Sequence[str], *, numbers: bool = False
) -> dict[str, NDArray[Any]]:
    """The arrays of an `.npz` with these names, as far as it has them; with `numbers`, also those
    of one value. What is in the file beside them is not unpacked.

    Raises HarnessError where it has none, and for a file that is none or damaged, before memory is
    taken.
    """
    arrays = _members(path)
    found = {
        name: array
        for array in arrays
        if (name := (array.member or "").removesuffix(".npy")) in names
        or (numbers and not array.shape)
    }
    if found.keys().isdisjoint(names):
        raise HarnessError(f"{path} holds no array {names[0]!r}; it holds {_described(arrays)}")
    return {name: _whole(path, array) for name, array in found.items()}


def _whole(path: str, array: _Array) -> NDArray[Any]:
    size = math.prod(array.shape) * array.dtype.itemsize
    try:
        with _opened(path, array.member) as stream:
            _skip(stream, array.start)
            data = stream.read(size)
    except (zipfile.BadZipFile, OSError, EOFError, MemoryError, zlib.error) as error:
        raise HarnessError(f"cannot read {path}: {str(error) or type(error).__name__}") from None
    if len(data) < size:
        raise HarnessError(f"cannot read {path}: it ends early")
    order: Any = "F" if array.fortran else "C"
    return np.frombuffer(bytearray(data), array.dtype).reshape(array.shape, order=order)


def _described(arrays: Sequence[_Array]) -> str:
    shown = [f"{(a.member or 'an array').removesuffix('.npy')} {a.kind}" for a in arrays[:6]]
    return ", ".join(shown) or "no arrays"


def _advice(arrays: Sequence[_Array], found: int) -> str:
    if found:
        return "which are the pictures? Keep one array of them, called arr_0"
    names = {(array.member or "").removesuffix(".npy") for array in arrays}
    if names.issuperset(_STATISTICS):
        return (
            "statistics of features, not pictures. A reference is given to its metric: "
            "fid(reference=FILE)"
        )
    return "expected pictures as uint8 [N, H, W, 3], called arr_0 where there are several"


def _labels(path: str, arrays: Sequence[_Array], count: int) -> list[int | None]:
    """The classes: the other array of N whole numbers, where there is exactly one."""
    fits = [a for a in arrays if a.shape == (count,) and a.dtype.kind in "iu"]
    fits += [a for a in arrays if a.shape == (count, 1) and a.dtype.kind in "iu"]
    if len(fits) != 1 or count * fits[0].dtype.itemsize > _LABELS_BYTES:
        return [None] * count
    stream = _opened(path, fits[0].member)
    _skip(stream, fits[0].start)
    data = stream.read(count * fits[0].dtype.itemsize)
    return [int(label) for label in np.frombuffer(data, fits[0].dtype)]


def _opened(path: str, member: str | None) -> BinaryIO:
    if member is None:
        return files.open_binary(path)
    return open_zip(path, files.stamp(path)).open(member)  # type: ignore[return-value]


def _headers(path: str) -> list[_Array]:
    """The arrays of a file, by their headers alone. Raises HarnessError for any other file."""
    if not path.lower().endswith(".npz"):
        return [_header(path, None, files.size(path))]
    return _members(path)


def _members(path: str) -> list[_Array]:
    archive = open_zip(path, files.stamp(path))
    members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
    return [_header(path, info.filename, info.file_size) for info in members[:1000]]


def _header(path: str, member: str | None, size: int) -> _Array:
    where = f"{path}: {member}" if member else path
    try:
        with _opened(path, member) as stream:
            version = np.lib.format.read_magic(stream)
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, fortran, dtype = read(stream)
            start = stream.tell()
    except Exception as error:  # a header is text that NumPy evaluates: any error of a literal
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise HarnessError(f"{where} is no array of NumPy: {reason}") from None
    if dtype.hasobject:
        raise HarnessError(f"{where} holds Python objects, which are not read")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != size - start:
        raise HarnessError(
            f"{where} is damaged: an array of {dtype} {str(list(shape))[:80]} in {size - start:,} "
            "bytes"
        )
    return _Array(member, shape, dtype, fortran, start)
