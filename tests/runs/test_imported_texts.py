"""Images made elsewhere whose table repeats texts: one text is one prompt, with several images."""

from pathlib import Path

import pytest

from harness.core.errors import HarnessError
from harness.runs.importing import import_images
from harness.runs.manifest import Declared
from tests.store.test_collections import folder, picture

TEXTS = ["a cup", "a hat", "a cup", "a car", "a cup", "a hat"]


@pytest.fixture
def prompts(tmp_path: Path) -> str:
    path = tmp_path / "list.txt"
    path.write_text("\n".join(TEXTS))
    return str(path)


def images(tmp_path: Path, count: int) -> str:
    return folder(tmp_path / "mine", {f"{i}.png": picture(i) for i in range(count)})


def told(tmp_path: Path, source: str, **declared: object) -> list[tuple[str, str, int]]:
    """Text, prompt id and seed by file."""
    run = import_images(source, Declared(**declared), out=str(tmp_path / "run"))  # type: ignore[arg-type]
    frame = run.frame("images")
    rows = zip(frame["image"], frame["prompt"], frame["prompt_id"], frame["seed"], strict=True)
    by_file = {Path(image["path"]).name: tuple(rest) for image, *rest in rows}
    return [by_file[name] for name in sorted(by_file)]


def test_an_image_for_each_row_or_for_each_distinct_prompt(tmp_path: Path, prompts: str) -> None:
    cup, hat, car = (("a cup", "list-0000"), ("a hat", "list-0001"), ("a car", "list-0003"))
    rows = [(*cup, 0), (*hat, 0), (*cup, 1), (*car, 0), (*cup, 2), (*hat, 1)]
    assert told(tmp_path, images(tmp_path, 6), prompts=prompts) == rows
    distinct = folder(tmp_path / "three", {f"{i}.png": picture(i) for i in range(3)})
    (tmp_path / "run" / "run.json").unlink()
    assert told(tmp_path / "b", distinct, prompts=prompts) == [(*cup, 0), (*hat, 0), (*car, 0)]


def test_other_numbers_and_paired_repeats_are_refused(tmp_path: Path, prompts: str) -> None:
    with pytest.raises(HarnessError, match=r"holds 3 prompts in 6 rows, but .* holds 5 images"):
        told(tmp_path, images(tmp_path, 5), prompts=prompts)
    with pytest.raises(HarnessError, match=r"repeats texts, and images that are paired .*seed"):
        told(tmp_path, images(tmp_path, 6), prompts=prompts, paired=True)


def test_ids_of_one_text_are_said_and_with_a_set_are_the_sets_prompt(
    tmp_path: Path, prompts: str, caplog: pytest.LogCaptureFixture
) -> None:
    table = tmp_path / "t.csv"
    rows = "".join(f"{i}.png,{text},p{i}\n" for i, text in enumerate(TEXTS))
    table.write_text("file,prompt,prompt_id\n" + rows)
    mine = images(tmp_path, 6)
    own = told(tmp_path / "a", mine, manifest=str(table))
    assert own == [(text, f"p{i}", 0) for i, text in enumerate(TEXTS)]
    assert "6 prompt ids stand for 3 texts: images of equal text count as one" in caplog.text
    with_set = told(tmp_path / "b", mine, manifest=str(table), prompts=prompts)
    assert with_set[::2] == [("a cup", "list-0000", seed) for seed in range(3)]
    assert with_set[1::2] == [
        ("a hat", "list-0001", 0),
        ("a car", "list-0003", 0),
        ("a hat", "list-0001", 1),
    ]


def test_a_row_a_question_names_an_image_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = tmp_path / "t.csv"
    rows = [f"{i}.png,text {i},question {at}" for i in range(2) for at in range(3)]
    table.write_text("\n".join(["file,prompt,question", *rows]))
    found = told(tmp_path, images(tmp_path, 2), manifest=str(table))
    assert [(text, seed) for text, _, seed in found] == [("text 0", 0), ("text 1", 0)]
    assert "6 rows say 2 different things of images" in caplog.text
    table.write_text("\n".join(["file,prompt", "0.png,text 0", "0.png,text 1"]))
    with pytest.raises(HarnessError, match=r"names the image '0.png' twice"):
        told(tmp_path, images(tmp_path, 2), manifest=str(table))
