"""One picture: from the bytes of any common file format to pixels, or the reason why not.

A picture is what a viewer shows: turned as its EXIF says, transparent parts on white, 16-bit grey
scaled to 8 bits, first of the pictures of a camera's MPO file. Everything else is as Pillow's
conversion to RGB has it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

MOST_BYTES = 1 << 28
"""A longer file is no picture: nothing of it is read."""

MOST_PIXELS = 89_478_485
"""A larger picture is not decoded: a few bytes can stand for any number of pixels. Pillow's own
limit."""

_DEEP_GREY = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_SIDEWAYS = (5, 6, 7, 8)  # values of EXIF's orientation that swap height and width
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Broken:
    """Stands for a picture that cannot be decoded: why not; the same on every machine."""

    reason: str


class Unread(Broken):
    """Stands for a picture whose file could not be read, or has changed since the import."""


def decode(data: bytes) -> NDArray[np.uint8] | Broken:
    """Pixels uint8 [3, H, W] of a picture's file, or why there are none."""
    try:
        with _opened(data) as image:
            pixels = np.asarray(_rgb(_upright(image)))
    except _Refused as refused:
        return Broken(str(refused))
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def measure(data: bytes) -> tuple[int, int] | Broken:
    """Height and width of what `decode` would give, from the file's header alone."""
    try:
        with _opened(data) as image:
            width, height = image.size
            sideways = _orientation(image) in _SIDEWAYS
    except _Refused as refused:
        return Broken(str(refused))
    return (width, height) if sideways else (height, width)


class _Refused(Exception):
    """Raised for bytes that are not taken for a picture; its text is the reason."""


@contextmanager
def _opened(data: bytes) -> Iterator[Picture]:
    """The opened picture; whatever Pillow raises on the way becomes `_Refused`."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as image:
            _check(image)
            yield image
    except UnidentifiedImageError:
        raise _Refused("broken image: of no known format") from None
    except Image.DecompressionBombError:
        raise _Refused(f"too large: more than {MOST_PIXELS:,} pixels") from None
    except (OSError, SyntaxError, ValueError, EOFError, OverflowError) as error:
        raise _Refused(f"broken image: {error}") from None


def _check(image: Picture) -> None:
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise _Refused(f"too large: {width} x {height} is more than {MOST_PIXELS:,} pixels")
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise _Refused(f"animated or of several pages: {frames} frames")
    if image.mode == "F":
        raise _Refused("its pixels are floating-point numbers of an unknown range")


def _rgb(image: Picture) -> Picture:
    from PIL import Image

    if image.mode in _DEEP_GREY:
        deep = np.asarray(image).astype(np.int64)
        if deep.min() < 0 or deep.max() > 65535:
            raise _Refused("its pixels have more than 16 bits")
        shallow = ((deep * 255 + 32767) // 65535).astype(np.uint8)
        return Image.fromarray(shallow).convert("RGB")
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        layered = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), layered).convert("RGB")
    return image.convert("RGB")


def _orientation(image: Picture) -> int:
    """EXIF's orientation, 1 to 8; of a PNG only where it stands before the pixels."""
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # Pillow would decode the whole picture to look behind the pixels
    return int(image.getexif().get(_ORIENTATION, 1))


def _upright(image: Picture) -> Picture:
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    turn = turns.get(_orientation(image))
    return image if turn is None else image.transpose(turn)
