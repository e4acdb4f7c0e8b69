"""What is exported is what other programs read, and scores as the run does."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import harness
from harness.core.errors import HarnessError
from harness.store.run import Run
from tests.conftest import harness as command

METRICS = "contrast,shapes-exact"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Pictures of three prompts at two seeds, scored."""
    root = tmp_path_factory.mktemp("run")
    made = harness.generate(
        "ddim(steps=2)", model="shapes", limit=3, seeds="3-4", device="cpu", out=root / "ddim"
    )
    assert isinstance(made, Run)
    harness.evaluate(made, METRICS, device="cpu")
    return made


def scored(where: Path, folder: Path) -> dict[str, float]:
    frame = harness.evaluate(where, METRICS, device="cpu", results=folder)
    assert frame["n"].tolist() == [6, 6]
    return dict(zip(frame["metric"], frame["value"], strict=True))


@pytest.mark.parametrize("form", ["folder", "zip", "webdataset", "hf"])
def test_what_is_exported_scores_as_the_run(run: Run, form: str, tmp_path: Path) -> None:
    expected = scored(Path(run.path), tmp_path)
    out = tmp_path / ("pictures.zip" if form == "zip" else "pictures")
    found = harness.export(run, out, format=form)
    assert (found.pictures, found.without) == (6, 0)
    assert scored(out, tmp_path / "imported") == pytest.approx(expected)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def official(path: Path) -> tuple[np.ndarray, list[str]]:
    """As the `ImageFolderDataset` of EDM's `dataset.py` lists and loads: names that end as pictures
    do, sorted; all of one shape."""
    Image.init()
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            names = sorted(n for n in archive.namelist() if Path(n).suffix in Image.EXTENSION)
            pictures = [np.array(Image.open(archive.open(name))) for name in names]
    else:
        found = (p for p in path.rglob("*") if p.suffix in Image.EXTENSION)
        names = sorted(str(p.relative_to(path)) for p in found)
        pictures = [np.array(Image.open(path / name)) for name in names]
    return np.stack(pictures), names


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_fid_py_reads_names_by_seed(form: str, tmp_path: Path) -> None:
    made = harness.generate(
        "ddim(steps=1)", model="gmm", prompts="unprompted", seeds="0-1,1000", device="cpu",
        out=tmp_path / "run",
    )  # fmt: skip
    out = tmp_path / f"pictures{'.zip' if form == 'zip' else ''}"
    harness.export(made, out, format=form)
    pixels, names = official(out)
    assert names[:2] == ["000000/000000.png", "000000/000001.png"]
    assert names[-1] == "001000/001000.png"
    assert pixels.dtype == np.uint8
    held = [row["bytes"] for row in Run.open(made.path).frame("images", ["image"])["image"]]
    assert len(names) == len(held)
    if form == "folder":
        assert [(out / name).read_bytes() for name in names] == held


def test_a_tar_is_of_samples(run: Run, tmp_path: Path) -> None:
    import tarfile

    harness.export(run, tmp_path / "tars", format="webdataset")
    (path,) = (tmp_path / "tars").iterdir()
    with tarfile.open(path) as tar:
        names = tar.getnames()
        assert names[:4] == ["000000.png", "000000.txt", "000000.json", "000001.png"]
        about = json.load(tar.extractfile("000003.json"))  # type: ignore[arg-type]
        text = tar.extractfile("000003.txt").read().decode()  # type: ignore[union-attr]
    row = run.images().iloc[3]
    assert (about["prompt"], about["seed"], about["prompt_id"]) == (
        row["prompt"], row["seed"], row["prompt_id"],
    )  # fmt: skip
    assert text == row["prompt"]


def test_a_run_for_the_hub_is_the_run(run: Run, tmp_path: Path) -> None:
    """With its card; and back, from any store. Logs stay, as they tell of machines."""
    log = Path(run.path, "logs", "rank-0.log")
    log.parent.mkdir()
    log.write_text("rank 0 of 1\n")
    harness.export(run, "memory://hub/run", format="hf")
    harness.export("memory://hub/run", tmp_path / "back", format="hf")
    assert not (tmp_path / "back" / "logs").exists()
    files = [p for p in Path(run.path).rglob("*") if p.is_file() and p != log]
    paths = [p for p in files if "index" not in p.parts]
    assert len(paths) > 6
    for path in paths:
        copy = tmp_path / "back" / path.relative_to(run.path)
        assert copy.read_bytes() == path.read_bytes()
    assert pq.read_table(tmp_path / "back" / "images").num_rows == 6


def test_items_without_a_picture_are_left_out_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        Image.new("RGB", (8, 8), (name == "a" and "red") or "blue").save(tmp_path / f"{name}.png")
    (tmp_path / "c.png").write_bytes(b"none")
    imported = harness.import_images(tmp_path, out=tmp_path / "run")
    harness.evaluate(imported, "contrast", device="cpu")
    out = tmp_path / "out"
    assert command(monkeypatch, "export", imported.path, "--out", str(out)) == 0
    assert "2 pictures, 1 items without a picture left out" in capsys.readouterr().out
    assert len(official(out)[1]) == 2


def test_nothing_is_written_over(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    harness.export(run, tmp_path / "out")  # an empty folder is no matter
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(HarnessError, match="is there already"):
        harness.export(run, tmp_path / "out")
    with pytest.raises(HarnessError, match="unknown format 'tars'"):
        harness.export(run, tmp_path / "other", format="tars")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_hub_that_is_not_reached_is_one_message(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Here the network is off; pushing and pulling."""
    url = "hf://datasets/somebody/something"
    for asked in ([run.path, "--out", url], [url, "--out", str(tmp_path / "back")]):
        assert command(monkeypatch, "export", "--format", "hf", *asked) == 2
        said = capsys.readouterr().err
        assert said.startswith("harness: cannot ")
        assert url in said
        assert "Traceback" not in said
