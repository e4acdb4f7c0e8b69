"""Folders, zips and Parquet of anybody's, as one ordered list of pictures."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import datasets
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from harness.core.errors import HarnessError
from harness.store.collections import open_images
from harness.store.image_files import current_stamp, read_image
from harness.store.pictures import Broken
from tests.store.test_pictures import encoded


def picture(value: int, size: int = 8) -> bytes:
    return encoded(Image.new("RGB", (size, size), (value, 0, 255 - value)))


def folder(path: Path, names: dict[str, bytes]) -> str:
    for name, data in names.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return str(path)


def zipped(path: Path, names: dict[str, bytes]) -> str:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in names.items():
            archive.writestr(name, data)
    return str(path)


def reds(path: str, **options: Any) -> dict[str, int | str]:
    """Name to the first red value, or to the reason why there is none."""
    return {
        name: found.reason if isinstance(found, Broken) else int(found[0, 0, 0])
        for name, found in open_images(path, **options)
    }


NAMES = {
    "b.png": picture(2),
    "a/1.png": picture(1),
    "a/broken.JPG": b"?",
    "notes.txt": b"no picture",
    ".hidden/c.png": picture(9),
    "__MACOSX/._b.png": b"?",
    "é, x\n.png": picture(3),
}
EXPECTED = {
    "a/1.png": 1,
    "a/broken.JPG": "broken image: of no known format",
    "b.png": 2,
    "é, x\n.png": 3,
}


def test_a_folder_and_a_zip_of_it_hold_the_same(tmp_path: Path) -> None:
    for path in (folder(tmp_path / "f", NAMES), zipped(tmp_path / "z.zip", NAMES)):
        assert reds(path) == EXPECTED
        assert list(reds(path)) == sorted(EXPECTED)
        assert len(open_images(path)) == 4


def test_urls_of_images_are_those_of_fsspec(tmp_path: Path) -> None:
    for path in (folder(tmp_path / "f", NAMES), zipped(tmp_path / "z.zip", NAMES)):
        for entry in open_images(path).entries:
            assert entry.url is not None
            with fsspec.open(entry.url, "rb") as file:
                assert read_image(entry.url) == file.read() == NAMES[entry.name]


def test_a_changed_image_has_another_stamp(tmp_path: Path) -> None:
    path = Path(folder(tmp_path / "f", NAMES))
    before = {entry.name: entry for entry in open_images(str(path)).entries}
    (path / "b.png").write_bytes(picture(77, 9))
    after = {entry.name: entry for entry in open_images(str(path)).entries}
    assert [name for name in after if after[name] != before[name]] == ["b.png"]
    (path / "b.png").unlink()
    assert current_stamp(str(path / "b.png")) is None
    assert isinstance(read_image(str(path / "b.png")), Broken)

    archive = zipped(tmp_path / "z.zip", NAMES)
    old = open_images(archive)
    zipped(tmp_path / "z.zip", {**NAMES, "b.png": picture(78)})
    new = open_images(archive)
    changed = [a.name for a, b in zip(new.entries, old.entries, strict=True) if a != b]
    assert changed == ["b.png"]
    assert old.identity != new.identity
    assert [current_stamp(str(e.url)) for e in new.entries] == [e.stamp for e in new.entries]


def test_categories_are_read_and_columns_of_other_types_are_named(tmp_path, caplog):
    table = pa.table(
        {
            "image": [{"bytes": picture(1), "path": None}],
            "prompt": pa.array(["a ring"]).dictionary_encode(),
            "boxes": [[1, 2]],
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    (entry,) = open_images(str(tmp_path / "t.parquet")).entries
    assert entry.columns == {"prompt": "a ring"}
    assert "columns of types that are not read: boxes" in caplog.text


def test_links_in_a_circle_are_entered_once(tmp_path: Path) -> None:
    path = folder(tmp_path, {"a/1.png": picture(1)})
    os.symlink(tmp_path, tmp_path / "a" / "up")
    os.symlink(tmp_path / "nowhere.png", tmp_path / "a" / "dead.png")
    assert reds(path) == {"a/1.png": 1}


def test_odd_names_in_a_zip_reach_nothing_outside(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(picture(200))
    names = {"../secret.png": picture(1), "/etc/x.png": picture(2)}
    inside = tmp_path / "in"
    inside.mkdir()
    assert reds(zipped(inside / "z.zip", names)) == {"../secret.png": 1, "/etc/x.png": 2}
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["in", "secret.png", "z.zip"]
    with pytest.raises(HarnessError, match="holds '::'"):
        open_images(zipped(tmp_path / "c.zip", {"a::b.png": picture(1)}))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_one_name_for_two_images_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("a.png", picture(1))
        archive.writestr("a.png", picture(2))
    with pytest.raises(HarnessError, match=r"two images with the name 'a.png'"):
        open_images(str(tmp_path / "z.zip"))


def test_a_damaged_member_is_one_broken_image(tmp_path: Path) -> None:
    path = Path(zipped(tmp_path / "z.zip", {"a.png": picture(1), "b.png": picture(2)}))
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 2] ^= 255
    path.write_bytes(data)
    found = reds(str(path))
    assert "CRC" in str(found["a.png"])
    assert found["b.png"] == 2
    path.write_bytes(data[:50])
    with pytest.raises(HarnessError, match="does not open as a zip"):
        open_images(str(path))


def test_labels_of_edm(tmp_path: Path) -> None:
    labels = {"labels": [["00000/img00000000.png", 3], ["00000/img00000001.png", 0]]}
    names = {f"00000/img0000000{i}.png": picture(i) for i in range(2)}
    names["dataset.json"] = json.dumps(labels).encode()
    for path in (folder(tmp_path / "f", names), zipped(tmp_path / "z.zip", names)):
        assert [entry.label for entry in open_images(path).entries] == [3, 0]
    names["dataset.json"] = b'{"labels": null}'
    none = zipped(tmp_path / "n.zip", names)
    assert {entry.label for entry in open_images(none).entries} == {None}
    names["dataset.json"] = b"[]"
    with pytest.raises(HarnessError, match="no table of labels"):
        open_images(zipped(tmp_path / "b.zip", names))


def hugging_face(path: Path, names: dict[str, bytes], **columns: list[Any]) -> str:
    """A Parquet file as `datasets` writes it."""
    made = datasets.Dataset.from_dict(
        {"image": [{"bytes": data, "path": name} for name, data in names.items()], **columns},
        features=datasets.Features(
            {"image": datasets.Image(), **{key: datasets.Value("string") for key in columns}}
        ),
    )
    made.to_parquet(path)
    return str(path)


def test_parquet_as_hugging_face_writes_it(tmp_path: Path) -> None:
    names = {f"{i}.png": picture(i) for i in range(70)} | {"bad.png": b"?"}
    path = hugging_face(tmp_path / "d.parquet", names, prompt=[f"p {i}" for i in range(71)])
    found = reds(path)
    assert list(found)[:2] == ["000000-0.png", "000001-1.png"]
    assert list(found.values()) == [*range(70), "broken image: of no known format"]
    images = open_images(path)
    assert images.entries[5].columns == {"prompt": "p 5"}
    for start, stop in ((0, 71), (33, 66), (70, 71), (5, 5)):
        read = [(entry.name, data) for entry, data in images.read(start, stop)]
        assert read == list(zip(found, names.values(), strict=True))[start:stop]


def test_parquet_in_row_groups_files_and_splits(tmp_path: Path) -> None:
    for part in range(2):
        column = pa.array([picture(10 * part + i) for i in range(5)])
        where = tmp_path / "data" / f"train-{part:05d}-of-00002.parquet"
        where.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({"img": column, "label": range(5)}), where, row_group_size=2)
    images = open_images(str(tmp_path))
    assert [entry.label for entry in images.entries] == [*range(5)] * 2
    values = [found[0, 0, 0] for _, found in images if isinstance(found, np.ndarray)]
    assert values == [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]
    part = [data for _, data in images.read(3, 7)]
    assert part == [picture(i) for i in (3, 4, 10, 11)]
    pq.write_table(pa.table({"img": [picture(7)]}), where.with_name("test-00000-of-00001.parquet"))
    with pytest.raises(HarnessError, match=r"splits test, train: name one, .*test-\*.parquet"):
        open_images(str(tmp_path))
    assert list(reds(str(tmp_path / "data" / "test-*.parquet")).values()) == [7]


def test_parquet_rows_that_name_files(tmp_path: Path) -> None:
    folder(tmp_path, {"pics/1.png": picture(1)})
    archive = zipped(tmp_path / "z.zip", {"2.png": picture(2)})
    paths = ["pics/1.png", f"zip://2.png::{archive}", "http://host/3.png", "absent.png", None]
    column = [{"bytes": None, "path": path} for path in paths]
    pq.write_table(pa.table({"image": column}), tmp_path / "t.parquet")
    found = list(reds(str(tmp_path / "t.parquet")).values())
    assert found[:2] == [1, 2]
    assert "not read from elsewhere" in str(found[2])
    assert "cannot read" in str(found[3])
    assert found[4] == "the row holds no image"


def test_which_column_holds_the_images(tmp_path: Path) -> None:
    path = str(tmp_path / "t.parquet")
    pq.write_table(pa.table({"a": [picture(1)], "b": [picture(2)], "n": [1]}), path)
    with pytest.raises(HarnessError, match="found a, b"):
        open_images(path)
    assert list(reds(path, column="b").values()) == [2]
    with pytest.raises(HarnessError, match="unknown column 'c'"):
        open_images(path, column="c")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("absent", "expected a folder"),
        ("absent.zip", "there is no file"),
        ("absent.parquet", "there is no file"),
        ("text.zip", "does not open as a zip"),
        ("text.parquet", "not a readable Parquet"),
        ("none", "none of its 1 files ends in"),
        ("none.zip", "none of its 1 files ends in"),
    ],
)
def test_nothing_to_read_is_one_message(name: str, words: str, tmp_path: Path) -> None:
    folder(tmp_path, {"text.zip": b"?", "text.parquet": b"?", "none/readme.md": b"?"})
    zipped(tmp_path / "none.zip", {"readme.md": b"?"})
    with pytest.raises(HarnessError, match=words):
        open_images(str(tmp_path / name))


def test_a_remote_folder_and_zip(tmp_path: Path) -> None:
    archive = Path(zipped(tmp_path / "z.zip", NAMES)).read_bytes()
    remote = fsspec.filesystem("memory")
    for name, data in NAMES.items():
        remote.pipe_file(f"/collections/f/{name}", data)
    remote.pipe_file("/collections/z.zip", archive)
    assert reds("memory://collections/f") == EXPECTED
    assert reds("memory://collections/z.zip") == EXPECTED
