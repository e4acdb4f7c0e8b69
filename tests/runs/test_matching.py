"""Which picture is whose: by names of files or of prompts, or by texts beside; never a guess."""

from __future__ import annotations

import json
import os

import pytest

from harness.core.errors import HarnessError
from harness.runs.importing import import_images
from harness.runs.manifest import Declared
from harness.store.image_files import read_image
from harness.store.pictures import decode
from tests.store.test_collections import folder, picture, zipped

COLOURS = ["red", "blue", "green", "yellow"]
SIX = {f"{n}.png": picture(n) for n in range(4)}


def described(tmp_path, source, **declared):
    """(text, seed, number in the picture) of each imported image, in order of numbers."""
    out = tmp_path / f"run-of-{os.path.basename(source)}"
    run = import_images(source, Declared(**declared), out=str(out))
    frame = run.frame("images", ["prompt", "seed", "image", "failed"])
    found = []
    for row in frame.itertuples():
        if row.image is None:
            found.append((row.prompt, row.seed, row.failed))
            continue
        data = row.image["bytes"] or read_image(row.image["path"])
        found.append((row.prompt, row.seed, int(decode(data)[0, 0, 0])))
    return sorted(found, key=lambda item: str(item[2]))


def table(tmp_path, names, order=(3, 1, 0, 2)):
    lines = [f"{names(n)},a {COLOURS[n]} square,{n + 10}" for n in order]
    path = tmp_path / "table.csv"
    path.write_text("\n".join(["file,prompt,seed", *lines]) + "\n")
    return str(path)


RIGHT = [(f"a {colour} square", n + 10, n) for n, colour in enumerate(COLOURS)]


@pytest.mark.parametrize("key", ["prompts", "manifest"])
@pytest.mark.parametrize(
    "names",
    [
        lambda n: f"/data/run7/squares/{n}.png",
        lambda n: f"squares/{n}.png",
        lambda n: f"C:\\out\\{n}.png",
        lambda n: f"./{n}.png",
        lambda n: f"{n}",
        lambda n: f"{n:05d}",
    ],
)
def test_a_table_from_elsewhere_is_matched_by_the_end_of_its_paths(tmp_path, key, names):
    source = folder(tmp_path / "mine", SIX)
    assert described(tmp_path, source, **{key: table(tmp_path, names)}) == RIGHT


def test_paths_say_more_than_names(tmp_path):
    pictures = {f"{'ab'[n % 2]}/{n // 2}.png": picture(n) for n in range(4)}
    source = folder(tmp_path / "mine", pictures)
    names = table(tmp_path, lambda n: f"/out/{'ab'[n % 2]}/{n // 2}.png")
    assert described(tmp_path, source, prompts=names) == RIGHT
    with pytest.raises(HarnessError, match=r"row 1: '1.png' may be 'a/1.png' and 'b/1.png'"):
        described(tmp_path, source, prompts=table(tmp_path, lambda n: f"{n // 2}.png"))


@pytest.mark.parametrize("column", ["file", "Image Path", "where"])
def test_names_that_match_nothing_are_refused_never_counted(tmp_path, column):
    source = folder(tmp_path / "mine", SIX)
    path = tmp_path / "t.csv"
    rows = "".join(f"COCO_{n}.jpg,text {n}\n" for n in range(4))
    path.write_text(f"{column},prompt\n{rows}")
    with pytest.raises(HarnessError, match=r"names none of the images .* no 'COCO_0.jpg'"):
        described(tmp_path, source, prompts=str(path))


def test_a_table_of_some_pictures_leaves_the_others_out_by_name(tmp_path, caplog):
    source = folder(tmp_path / "mine", SIX)
    names = table(tmp_path, lambda n: f"/x/{n}.png", order=(2, 0))
    assert described(tmp_path, source, prompts=names) == [RIGHT[0], RIGHT[2]]
    assert "2 of 4 images" in caplog.text
    assert "'1.png'" in caplog.text


def test_ids_that_are_the_pictures_names_match_them(tmp_path):
    source = folder(tmp_path / "mine", {f"x/{'dbca'[n]}f0.png": picture(n) for n in range(4)})
    path = tmp_path / "meta.json"
    path.write_text(json.dumps({f"{'dbca'[n]}f0": {"prompt": COLOURS[n]} for n in (2, 0, 3, 1)}))
    assert described(tmp_path, source, prompts=str(path)) == [
        (colour, 0, n) for n, colour in enumerate(COLOURS)
    ]


def test_texts_beside_pictures_are_their_prompts(tmp_path):
    texts = {f"{n}.txt": f"a {COLOURS[n]} square\n".encode() for n in range(4)}
    source = zipped(tmp_path / "mine.zip", {**SIX, **texts, "LICENSE.txt": b"free"})
    right = [(text, 0, n) for text, _, n in RIGHT]
    assert described(tmp_path, source) == right
    del texts["2.txt"]
    with pytest.raises(HarnessError, match=r"2.png has no 2.txt beside it"):
        described(tmp_path, folder(tmp_path / "mine", {**SIX, **texts}))


def test_a_folder_of_one_prompt_has_its_metadata(tmp_path):
    names = {f"{n:05d}/samples/{k:04d}.png": picture(2 * n + k) for n in range(2) for k in range(2)}
    about = {
        f"{n:05d}/metadata.jsonl": json.dumps({"prompt": COLOURS[n], "tag": "t"}).encode()
        for n in range(2)
    }
    source = folder(tmp_path / "mine", {**names, **about})
    assert described(tmp_path, source) == [
        ("red", 0, 0), ("red", 1, 1), ("blue", 0, 2), ("blue", 1, 3),
    ]  # fmt: skip


@pytest.mark.parametrize("form", ["{}/{:02d}.png", "samples/{}_{:06d}.png", "{1:03d}-{0}.png"])
def test_pictures_called_like_their_prompts_are_theirs(tmp_path, form):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("A red ring!\na blue ring\n")
    called = ["a_blue_ring", "A red ring!"]  # not in the order of the prompts
    names = {form.format(called[n // 2], n % 2): picture(n) for n in range(4)}
    found = described(tmp_path, folder(tmp_path / "mine", names), prompts=str(prompts))
    assert [(text, n) for text, _, n in found] == [
        ("a blue ring", 0), ("a blue ring", 1), ("A red ring!", 2), ("A red ring!", 3),
    ]  # fmt: skip
    names["other/9.png"] = picture(9)
    with pytest.raises(HarnessError, match=r"'other/9.png' is not"):
        described(tmp_path, folder(tmp_path / "more", names), prompts=str(prompts))


def test_columns_of_a_table_that_are_not_read_are_named(tmp_path, caplog):
    path = tmp_path / "t.csv"
    path.write_text("file,prompt,guidance_scale\n" + "".join(f"{n}.png,p{n},3\n" for n in range(4)))
    described(tmp_path, folder(tmp_path / "mine", SIX), prompts=str(path))
    assert "columns that are not read: guidance_scale" in caplog.text
