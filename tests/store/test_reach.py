"""Nothing outside of the given folder is read, and nothing that has no end."""

from __future__ import annotations

import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.core.errors import HarnessError
from harness.store.collections import open_images
from harness.store.image_files import read_image
from harness.store.pictures import Broken
from tests.store.test_collections import folder, picture, reds, zipped


def hostile(tmp_path, paths):
    """A table whose rows name these files, beside a picture of its own."""
    mine = folder(tmp_path / "mine", {"own.png": picture(1), "sub/own.png": picture(2)})
    rows = [{"bytes": None, "path": path} for path in paths]
    pq.write_table(pa.table({"image": rows}), f"{mine}/t.parquet")
    return f"{mine}/t.parquet"


def test_rows_reach_regular_files_below_their_table_alone(tmp_path):
    secret = folder(tmp_path / "private", {"secret.png": picture(9)})
    folder(tmp_path / "mine", {})
    os.makedirs(tmp_path / "mine")
    os.mkfifo(tmp_path / "mine" / "pipe.png")
    os.symlink(f"{secret}/secret.png", tmp_path / "mine" / "link.png")
    os.symlink(secret, tmp_path / "mine" / "linked")
    archive = zipped(tmp_path / "private" / "z.zip", {"a.png": picture(8)})
    bad = [
        "/etc/passwd", "../private/secret.png", "pipe.png", "/dev/zero", "link.png",
        "linked/secret.png", "sub/../../private/secret.png", f"zip://a.png::{archive}",
        "file:///etc/passwd", "http://127.0.0.1:9/x.png", "sub", "absent.png", "a\0b",
    ]  # fmt: skip
    good = ["own.png", "sub/own.png", "./sub/../own.png", str(tmp_path / "mine" / "own.png")]
    found = list(reds(hostile(tmp_path, bad + good)).values())
    assert [isinstance(value, str) for value in found] == [True] * len(bad) + [False] * len(good)
    assert found[-4:] == [1, 2, 1, 1]


@pytest.mark.parametrize("kind", ["link", "pipe", "folder link"])
def test_a_folder_that_leads_out_of_itself_is_refused_by_name(tmp_path, kind):
    secret = folder(tmp_path / "private", {"secret.png": picture(9)})
    mine = folder(tmp_path / "mine", {"a.png": picture(1)})
    if kind == "pipe":
        os.mkfifo(f"{mine}/b.png")
    elif kind == "link":
        os.symlink(f"{secret}/secret.png", f"{mine}/b.png")
    else:
        os.symlink(secret, f"{mine}/b")
    with pytest.raises(HarnessError, match=r"holds b.*not read: it (is a pipe|lies outside)"):
        open_images(mine)


def test_links_inside_the_folder_and_inside_a_hub_cache_are_fine(tmp_path):
    mine = folder(tmp_path / "mine", {"a.png": picture(1)})
    os.symlink("a.png", f"{mine}/b.png")
    assert reds(mine) == {"a.png": 1, "b.png": 1}
    cache = folder(tmp_path / "hub" / "datasets--x--y", {"blobs/ab12": picture(3)})
    os.makedirs(f"{cache}/snapshots/c0ffee/data")
    os.symlink("../../../blobs/ab12", f"{cache}/snapshots/c0ffee/data/a.png")
    assert reds(f"{cache}/snapshots/c0ffee") == {"data/a.png": 3}
    assert reds(f"{cache}/snapshots/c0ffee/data") == {"a.png": 3}
    whole = tmp_path / "by-link"
    os.symlink(mine, whole)  # the folder that is given may be a link itself
    assert reds(str(whole)) == {"a.png": 1, "b.png": 1}


def test_a_device_is_not_read_to_its_end():
    found = read_image("/dev/zero")
    assert isinstance(found, Broken)
    assert "a device" in found.reason
