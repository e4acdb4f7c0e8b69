"""Pictures in one array and in tars, as people's scripts write them."""

from __future__ import annotations

import io
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pytest

from harness.core.errors import HarnessError
from harness.store.collections import open_images
from tests.store.test_collections import folder, picture, reds

rng = np.random.default_rng(0)
PIXELS = rng.integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)


def read(path):
    return [pixels.transpose(1, 2, 0) for _, pixels in open_images(path)]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_samples_in_an_npz_are_the_pictures(tmp_path, save):
    path = str(tmp_path / "s.npz")
    save(path, PIXELS, np.arange(6)[::-1])
    assert np.array_equal(read(path), PIXELS)
    images = open_images(path)
    assert [entry.label for entry in images.entries] == [5, 4, 3, 2, 1, 0]
    assert [entry.name for entry, _ in images.read(4, 6)] == ["000004", "000005"]
    again = [data for _, data in images.read(1, 2)]  # back, after going on
    assert again == [data for _, data in open_images(path).read(1, 2)]


def test_other_layouts_of_arrays(tmp_path):
    np.save(tmp_path / "s.npy", PIXELS)
    assert np.array_equal(read(str(tmp_path / "s.npy")), PIXELS)
    np.savez(tmp_path / "chw.npz", images=PIXELS.transpose(0, 3, 1, 2).copy())
    assert np.array_equal(read(str(tmp_path / "chw.npz")), PIXELS)
    np.savez(tmp_path / "grey.npz", PIXELS[..., :1].copy())
    assert np.array_equal(read(str(tmp_path / "grey.npz")), PIXELS[..., :1].repeat(3, 3))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"mu": np.zeros(4), "sigma": np.zeros((4, 4))}, "statistics of features"),
        ({"arr_0": PIXELS / 255}, r"float64 \[6, 5, 4, 3\].*expected pictures as uint8"),
        ({"a": PIXELS, "b": PIXELS}, "which are the pictures"),
        ({"a": np.array([None])}, "Python objects"),
        ({}, "no arrays"),
        ({"a": PIXELS[:0]}, "no pictures"),
    ],
)
def test_arrays_that_are_no_pictures_say_what_they_are(tmp_path, arrays, words):
    np.savez(tmp_path / "s.npz", **arrays)
    with pytest.raises(HarnessError, match=words):
        open_images(str(tmp_path / "s.npz"))


@pytest.mark.parametrize("shape", ["(1099511627776, 32, 32, 3)", "(6, 5, 4, 3" + "0" * 5000 + ")"])
def test_shapes_beyond_the_file_are_refused_before_memory_is_asked_for(tmp_path, shape):
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"0" * 99
    with zipfile.ZipFile(tmp_path / "s.npz", "w") as archive:
        archive.writestr("arr_0.npy", data)
    with pytest.raises(HarnessError, match=r"is damaged|is no array"):
        open_images(str(tmp_path / "s.npz"))


def test_a_member_that_nothing_needs_is_not_unpacked(tmp_path):
    path = tmp_path / "s.npz"
    np.savez_compressed(path, PIXELS)
    big = io.BytesIO()
    np.save(big, np.zeros(1 << 24, np.uint8))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("big.npy", big.getvalue())
    del big
    tracemalloc.start()
    assert np.array_equal(read(str(path)), PIXELS)
    assert tracemalloc.get_traced_memory()[1] < 1 << 23
    tracemalloc.stop()


def tarred(path, members):
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return str(path)


def test_tars_are_read_in_place(tmp_path):
    (tmp_path / "t").mkdir()
    members = {"./000.png": picture(1), "000.txt": b"one", "000.json": b"{}"}
    first = tarred(tmp_path / "t" / "0.tar", members)
    tarred(tmp_path / "t" / "1.tar", {"000.png": picture(2), "000.txt": b"two"})
    assert reds(first) == {"000.png": 1}
    assert reds(str(tmp_path / "t")) == {"0/000.png": 1, "1/000.png": 2}
    assert reds(str(tmp_path / "t" / "*.tar")) == {"0/000.png": 1, "1/000.png": 2}
    captions = dict(open_images(str(tmp_path / "t")).captions())
    assert captions == {"0/000.txt": b"one", "1/000.txt": b"two"}


def test_links_in_a_tar_are_no_images_and_packed_tars_are_named(tmp_path):
    path = tmp_path / "t.tar"
    with tarfile.open(path, "w") as archive:
        link = tarfile.TarInfo("a.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(HarnessError, match="holds no images"):
        open_images(str(path))
    with tarfile.open(tmp_path / "t.tar.gz", "w:gz"):
        pass
    with pytest.raises(HarnessError, match="Unpack it first"):
        open_images(str(tmp_path / "t.tar.gz"))
    (tmp_path / "t.tar.gz").rename(tmp_path / "u.tar")
    with pytest.raises(HarnessError, match="does not open as a tar"):
        open_images(str(tmp_path / "u.tar"))


def test_odd_endings_are_pictures_too(tmp_path):
    mine = folder(tmp_path / "mine", {"a.JFIF": picture(1), "b.jpe": picture(2)})
    assert reds(mine) == {"a.JFIF": 1, "b.jpe": 2}
