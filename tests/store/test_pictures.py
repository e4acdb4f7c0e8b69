"""A picture's pixels are what a viewer shows; what is no picture says why."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.store.pictures import Broken, decode, measure

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 4, 3), dtype=np.uint8)
PICTURE = Image.fromarray(PIXELS)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def sideways() -> Image.Exif:
    exif = Image.Exif()
    exif[0x112] = 6  # to be turned a quarter clockwise
    return exif


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_give_their_pixels(kind: str) -> None:
    data = encoded(PICTURE, kind)
    np.testing.assert_array_equal(decode(data), PIXELS.transpose(2, 0, 1))
    assert measure(data) == (6, 4)


def test_exif_turns_a_picture_and_its_size() -> None:
    data = encoded(PICTURE, exif=sideways())
    np.testing.assert_array_equal(decode(data), np.rot90(PIXELS, -1).transpose(2, 0, 1))
    assert measure(data) == (4, 6)


def test_sixteen_bits_of_grey_become_eight() -> None:
    deep = np.array([[0, 65535], [257 * 100, 257 * 100 + 128]], dtype=np.uint16)
    expected = np.round(deep / 257).astype(np.uint8)
    for data in (encoded(Image.fromarray(deep)), encoded(Image.fromarray(deep), "TIFF")):
        np.testing.assert_array_equal(decode(data), np.stack([expected] * 3))


def test_grey_palette_and_cmyk_are_as_pillow_converts_them() -> None:
    for image in (PICTURE.convert("L"), PICTURE.convert("P"), PICTURE.convert("1")):
        expected = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
        np.testing.assert_array_equal(decode(encoded(image)), expected)
    data = encoded(PICTURE.convert("CMYK"), "JPEG")
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).transpose(2, 0, 1)
    np.testing.assert_array_equal(decode(data), expected)


def test_transparent_parts_are_white_and_opaque_ones_unchanged() -> None:
    alpha = np.where(np.arange(6)[:, None] < 3, 255, 0).astype(np.uint8) * np.ones(4, np.uint8)
    layered = Image.fromarray(np.dstack([PIXELS, alpha.astype(np.uint8)]))
    shown = decode(encoded(layered))
    assert isinstance(shown, np.ndarray)
    np.testing.assert_array_equal(shown[:, :3], PIXELS.transpose(2, 0, 1)[:, :3])
    assert (shown[:, 3:] == 255).all()


def huge() -> bytes:
    """A PNG of a few bytes that says it is 60,000 pixels square."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "of no known format"),
        (b"not a picture", "of no known format"),
        (encoded(PICTURE)[:60], "broken image: "),
        (encoded(PICTURE, "JPEG")[:200], "broken image: "),
        (huge(), "too large"),
        (encoded(PICTURE, "GIF", save_all=True, append_images=[PICTURE.rotate(180)]), "2 frames"),
        (encoded(Image.fromarray(np.zeros((3, 3), np.float32)), "TIFF"), "floating-point"),
        (encoded(Image.fromarray(np.full((3, 3), -1, np.int32)), "TIFF"), "more than 16 bits"),
    ],
)
def test_what_is_no_picture_says_why(data: bytes, reason: str) -> None:
    found = decode(data)
    assert isinstance(found, Broken)
    assert reason in found.reason
