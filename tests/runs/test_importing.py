"""Images that nobody made here, through the command line: as a run, scored, compared, resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from harness.core.errors import HarnessError
from harness.evaluation import evaluate
from harness.metrics.base import METRICS, ItemMetric, SetMetric, metric
from harness.metrics.encoders import Encoder
from harness.metrics.frechet import Frechet
from harness.metrics.set_statistics import Reference
from harness.prompts.base import load_prompts
from harness.runs.importing import import_images
from harness.runs.manifest import Declared
from harness.store.comparison_tables import load_comparison
from harness.store.run import Run
from tests.conftest import harness
from tests.store.test_collections import folder, hugging_face, picture, zipped
from tests.store.test_pictures import encoded

WORDS = {"title": "Test", "model": "none", "paper": "none", "licence": "none"}


class Channels(Encoder):
    """Mean red, green and blue."""

    name = "test-channels"
    width = 3

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        return images.float().mean((2, 3))


class Fits(ItemMetric):
    """Mean red, and how long the prompt is."""

    def score(self, images: torch.Tensor, rows: Any) -> list[float]:
        reds = images[:, 0].float().mean((1, 2)).tolist()
        return [red + 1000 * len(row.prompt) for red, row in zip(reds, rows, strict=True)]


class Red(Fits):
    """Mean red."""

    def score(self, images: torch.Tensor, rows: Any) -> list[float]:
        return images[:, 0].float().mean((1, 2)).tolist()


class Spread(SetMetric):
    """Frechet distance to a unit Gaussian."""

    def build_encoder(self) -> Encoder:
        return Channels()

    def statistic(self) -> Frechet:
        return Frechet(Reference(np.zeros(3), np.eye(3), 100, {}))


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    METRICS.names()
    monkeypatch.setattr(METRICS, "_entries", dict(METRICS._entries))
    metric("test-fits", needs_prompts=True, direction="higher", **WORDS)(Fits)  # type: ignore[arg-type]
    metric("test-red", needs_prompts=False, direction="higher", **WORDS)(Red)  # type: ignore[arg-type]
    metric("test-spread", direction="lower", **WORDS)(Spread)  # type: ignore[arg-type]
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


def only_run() -> Run:
    (record,) = Path("results/imported").glob("*/run.json")
    return Run.open(str(record.parent))


def scores(run: Run, metric: str) -> dict[str, float | str]:
    """By the picture's red value, or item where there is none: the score, or why it is missing."""
    frame = run.frame(f"scores/{metric}").set_index("item_id")
    return {
        item: row["reason"] if isinstance(row["reason"], str) else row["value"]
        for item, row in frame.iterrows()
    }


def test_a_zip_of_pngs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    archive = zipped(
        tmp_path / "mine.zip", {f"{i}.png": picture(i) for i in range(150)} | {"x.jpg": b"?"}
    )
    metrics = ["--metrics", "test-red,test-spread,test-fits"]
    assert harness(monkeypatch, "evaluate", archive, *metrics) == 0
    said = capsys.readouterr()
    assert "left out: test-fits needs prompts" in said.err
    assert "150 of 151 images scored; 1 not: failed: broken image: of no known format" in said.out
    assert "test-red ↑: 74.50 [" in said.out
    assert ", n = 150" in said.out
    run = only_run()
    found = scores(run, "test-red")
    assert found["x.jpg/0"] == "failed: broken image: of no known format"
    assert {key: value for key, value in found.items() if key != "x.jpg/0"} == {
        f"{i}.png/0": float(i) for i in range(150)
    }
    assert sum(file.stat().st_size for file in Path(run.path, "images").iterdir()) < 60_000

    stamps = {file: file.stat().st_mtime_ns for file in Path(run.path).rglob("*.parquet")}
    assert harness(monkeypatch, "evaluate", archive, *metrics) == 0
    assert {f: f.stat().st_mtime_ns for f in Path(run.path).rglob("*.parquet")} == stamps


def test_prompts_of_a_table_for_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mine = folder(tmp_path / "mine", {f"a/{i}.png": picture(i) for i in range(4)})
    table = tmp_path / "table.csv"
    table.write_text(
        'file,prompt,seed,nfe\na/0.png,"one, two",5,40\na/1.png,"one, two",6,40\n'
        'a/2.png,"zwölf\nzeilen ☃",0,40\nlost.png,gone,0,40\n'
    )
    assert (
        harness(monkeypatch, "evaluate", mine, "--metrics", "test-fits", "--prompts", str(table))
        == 0
    )
    run = only_run()
    images = run.frame("images")
    assert images["prompt"].tolist() == ["one, two", "one, two", "zwölf\nzeilen ☃", "gone"]
    assert images["seed"].tolist() == [5, 6, 0, 0]
    assert images["nfe"].tolist() == [40] * 4
    assert list(scores(run, "test-fits").values()) == [
        8000.0,
        8001.0,
        14002.0,
        "failed: there is no such image",
    ]
    # what was declared is kept
    assert harness(monkeypatch, "evaluate", mine, "--metrics", "test-fits") == 0
    assert only_run().frame("images")["prompt"].tolist() == images["prompt"].tolist()


def test_hugging_face_parquet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    names = {f"{i}.png": picture(i) for i in range(140)} | {"bad.png": b"?"}
    texts = [f"{'x' * (i % 3 + 1)}" for i in range(141)]
    path = hugging_face(tmp_path / "train.parquet", names, caption=texts)
    assert harness(monkeypatch, "evaluate", path, "--metrics", "test-fits,test-spread") == 0
    run = only_run()
    values = list(scores(run, "test-fits").values())
    assert values == [
        *(i + 1000.0 * (i % 3 + 1) for i in range(140)),
        "failed: broken image: of no known format",
    ]
    assert len(run.shards()) == 2
    assert run.frame("images")["seed"].tolist()[:6] == [0, 0, 0, 1, 1, 1]
    assert "140 of 141 images scored" in capsys.readouterr().out


def test_a_run_of_files_opens_in_datasets(tmp_path: Path) -> None:
    for source in (
        folder(tmp_path / "f", {"a.png": picture(1)}),
        zipped(tmp_path / "z.zip", {"a.png": picture(1)}),
    ):
        run = import_images(source, Declared(), out=str(tmp_path / f"run-{Path(source).name}"))
        files = [run.file("images", shard) for shard in run.shards()]
        loaded = datasets.load_dataset(
            "parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache")
        )
        np.testing.assert_array_equal(np.asarray(loaded[0]["image"])[0, 0], [1, 0, 254])


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_sidecars_of_hugging_face(suffix: str, tmp_path: Path) -> None:
    """`datasets` itself writes the table, and reads the same prompts for the same pictures."""
    rows = [{"file_name": f"{i}.png", "text": f"text {i}", "seed": 5 + i} for i in range(2)]
    names = {f"train/{i}.png": picture(i) for i in range(2)}
    table, path = datasets.Dataset.from_list(rows), tmp_path / "table"
    {"csv": table.to_csv, "jsonl": table.to_json, "parquet": table.to_parquet}[suffix](path)
    names[f"train/metadata.{suffix}"] = path.read_bytes()
    mine = folder(tmp_path / "f", names)
    cache = str(tmp_path / "cache")
    read = datasets.load_dataset("imagefolder", data_dir=mine, split="train", cache_dir=cache)
    theirs = {np.asarray(row["image"])[0, 0, 0]: row["text"] for row in read}
    for source in (mine, zipped(tmp_path / "z.zip", names)):
        run = import_images(source, Declared(), results=str(tmp_path / "r"))
        frame = run.frame("images")
        assert frame["prompt"].tolist() == [theirs[0], theirs[1]] == ["text 0", "text 1"]
        assert frame["seed"].tolist() == [5, 6]


def test_a_damaged_sidecar_is_named(tmp_path: Path) -> None:
    names = {"0.png": picture(0), "metadata.parquet": b"no table"}
    with pytest.raises(HarnessError, match=r"metadata\.parquet is not a readable Parquet file"):
        import_images(folder(tmp_path / "f", names), Declared(), results=str(tmp_path / "r"))


def test_prompts_in_order_are_those_of_a_counting_reader(tmp_path: Path) -> None:
    mine = folder(tmp_path / "mine", {f"{i}.png": picture(i) for i in range(12)})
    text = tmp_path / "p.txt"
    text.write_text("".join(f"p{i}\n" for i in range(12)))
    run = import_images(mine, Declared(prompts=str(text)), out=str(tmp_path / "run"))
    frame = run.frame("images")
    told = {
        Path(image["path"]).stem: prompt
        for image, prompt in zip(frame["image"], frame["prompt"], strict=True)
    }
    assert told == {str(i): f"p{i}" for i in range(12)}
    assert set(frame["prompt_id"]) == {f"p-{i:04d}" for i in range(12)}
    text.write_text("one\ntwo\n")
    with pytest.raises(
        HarnessError, match=r"holds 2 prompts, but .* holds 12 images: which is whose"
    ):
        import_images(mine, Declared(prompts=str(text)), out=str(tmp_path / "other"))


def test_a_changed_image_is_computed_again_and_nothing_else(tmp_path: Path) -> None:
    names = {f"{i:03d}.png": picture(i) for i in range(200)}
    mine = Path(folder(tmp_path / "mine", names))
    out = str(tmp_path / "run")
    run = import_images(str(mine), Declared(), out=out)
    evaluate(run, ["test-red"])
    (mine / "150.png").write_bytes(picture(7, 9))
    # the run alone does not know of it, but does not score another image for the one it names
    Path(run.file("scores/test-red", run.shards()[1])).unlink()
    evaluate(Run.open(out), ["test-red"])
    assert "import the images again" in str(scores(run, "test-red")["150.png/0"])
    run = import_images(str(mine), Declared(), out=out)
    report = evaluate(run, ["test-red"])
    assert report.outcomes["test-red"].computed_shards == 1
    assert scores(run, "test-red")["150.png/0"] == 7
    for name in list(names)[100:]:
        os.unlink(mine / name)
    run = import_images(str(mine), Declared(), out=out)
    assert len(run.shards()) == len(run.shards("scores/test-red")) == 1
    evaluate(run, ["test-red"])
    assert len(scores(run, "test-red")) == 100


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prompt,seed\na,0\n", "which image is whose: expected a column file"),
        ("file,seed\n0.png,0\n", "no column is called like the prompt"),
        ("file,prompt\n", "t.csv has no rows"),
        ("file,prompt\nx.png,a\n", "names none of the images"),
        ("file,prompt\n0.png,a\n0.png,b\n", "names the image '0.png' twice"),
        (
            "file,prompt,seed\n0.png,a,1\n1.png,a,1\n",
            "two images of the prompt 'a' have the seed 1",
        ),
        ("file,prompt,prompt_id\n0.png,a,p\n1.png,b,p\n", "'p' stands for two texts"),
        ("file,prompt,seed\n0.png,a,x\n", "row 1: the seed is 'x', expected a whole number"),
        ("file,prompt,cost\n0.png,a,1.5\n", "row 1: the cost is '1.5', expected a whole number"),
        ("file,prompt\n0.png\n", "1 fields, but the first row names 2"),
    ],
)
def test_mistakes_in_a_table(
    text: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    mine = folder(tmp_path / "mine", {f"{i}.png": picture(i) for i in range(2)})
    (tmp_path / "t.csv").write_text(text)
    assert harness(monkeypatch, "import", mine, "--manifest", str(tmp_path / "t.csv")) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
    assert not Path("results").exists()


def two_runs(tmp_path: Path, shift: int, *options: str) -> list[str]:
    """Two collections of 30 prompts at 2 seeds; the first has `shift` more red at another seed."""
    places = []
    for name, more in (("a", shift), ("b", 0)):
        rows = ["file,prompt,seed"]
        names = {}
        for prompt in range(30):
            for seed in range(2):
                names[f"{prompt}-{seed}.png"] = picture(100 + 20 * (seed ^ (more > 0)) + more)
                rows.append(f"{prompt}-{seed}.png,prompt {prompt},{seed}")
        (tmp_path / f"{name}.csv").write_text("\n".join(rows) + "\n")
        places.append(folder(tmp_path / name, names))
    return places


@pytest.mark.parametrize("paired", [False, True])
def test_imports_are_compared_as_declared(
    paired: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    two_runs(tmp_path, 1)
    declared = "--paired" if paired else "--unpaired"
    for name in "ab":
        where = [str(tmp_path / name), "--manifest", str(tmp_path / f"{name}.csv"), "--out", name]
        assert harness(monkeypatch, "import", *where, declared) == 0
        assert f"60 images, 60 with a prompt, 0 missing; {declared[2:]}" in capsys.readouterr().out
        assert harness(monkeypatch, "evaluate", name, "--metrics", "test-red") == 0
    capsys.readouterr()
    assert harness(monkeypatch, "compare", "a", "b", "--metrics", "test-red") == 0
    said = capsys.readouterr().out
    comparison = load_comparison("a")
    (row,) = comparison.rates.to_dict("records")
    # red of a: 121, 101; of b: 100, 120
    expected = (60, 0.5, 30, 30) if paired else (120, 0.75, 90, 30)
    assert (row["pairs"], row["winning_rate"], row["wins"], row["losses"]) == expected
    assert row["prompts"] == 30
    assert row["difference"] == pytest.approx(1.0)
    assert ("imported as unpaired" in " ".join(said.split())) is not paired
    page = Path("a/report/index.html").read_text()
    assert ("pairs of the same prompt and noise" in page) is paired
    assert page.count("data:image/png;base64,") >= 120


def test_a_picture_that_does_not_open_loses_its_pair_as_a_missing_one_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    two_runs(tmp_path, 1)
    cut = tmp_path / "a" / "0-0.png"
    cut.write_bytes(cut.read_bytes()[:50])
    (tmp_path / "a" / "1-1.png").unlink()
    reason = "broken image: image file is truncated"
    for name in "ab":
        where = [str(tmp_path / name), "--manifest", str(tmp_path / f"{name}.csv"), "--out", name]
        assert harness(monkeypatch, "import", *where, "--paired") == 0
        assert harness(monkeypatch, "evaluate", name, "--metrics", "test-red,test-spread") == 0
    stamps = _files(Path("a"))
    key = Run.open("a").items_key("images", "part-00000-00000")
    # nothing is computed again, or forgotten, by importing and evaluating once more
    capsys.readouterr()
    again = [str(tmp_path / "a"), "--manifest", str(tmp_path / "a.csv"), "--out", "a"]
    assert harness(monkeypatch, "import", *again) == 0
    assert "60 images, 60 with a prompt, 1 missing, 1 broken; paired" in capsys.readouterr().out
    assert harness(monkeypatch, "evaluate", "a", "--metrics", "test-red,test-spread") == 0
    assert _files(Path("a")) == stamps
    assert Run.open("a").items_key("images", "part-00000-00000") == key
    failed = Run.open("a").frame("images", ["item_id", "failed"]).set_index("item_id")["failed"]
    assert failed.notna().sum() == 2
    assert failed.iloc[0].startswith(reason)
    assert str(scores(Run.open("a"), "test-red")[failed.index[0]]).startswith(f"failed: {reason}")

    assert harness(monkeypatch, "compare", "a", "b", "--metrics", "test-red") == 0
    (row,) = load_comparison("a").rates.to_dict("records")
    assert (row["pairs"], row["left_out"], row["a_failed"]) == (60, 0, 2)
    page = Path("a/report.md").read_text()
    assert "Failed: 2 of 60 images of a" in page
    assert reason in page
    assert "1: there is no such image" in page


def test_a_broken_picture_in_a_run_of_files_still_opens_in_datasets(tmp_path: Path) -> None:
    mine = folder(tmp_path / "mine", {"0.png": picture(1), "1.png": b"?"})
    run = import_images(mine, Declared(), out=str(tmp_path / "run"))
    evaluate(run, ["test-red"])
    files = str(Path(run.path, "images", "*.parquet"))
    rows = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path))["train"]
    assert rows["failed"] == [None, "broken image: of no known format"]
    assert rows[0]["image"].size == Image.open(Path(mine, "0.png")).size


def test_a_picture_that_is_only_out_of_reach_has_not_failed(tmp_path: Path) -> None:
    mine = folder(tmp_path / "mine", {f"{i}.png": picture(i) for i in range(3)})
    run = import_images(mine, Declared(), out=str(tmp_path / "run"))
    kept = Path(mine, "1.png").rename(tmp_path / "1.png")
    evaluate(run, ["test-red"])
    assert "import the images again" in str(scores(run, "test-red")["1.png/0"])
    assert run.frame("images", ["failed"])["failed"].isna().all()
    kept.rename(Path(mine, "1.png"))


def test_rows_without_an_image_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    mine = folder(tmp_path / "mine", {"0.png": picture(1)})
    rows = ["file,prompt", "0.png,a", *(f"lost-{at}.png,b" for at in range(7))]
    (tmp_path / "t.csv").write_text("\n".join(rows) + "\n")
    declared = Declared(manifest=str(tmp_path / "t.csv"))
    import_images(mine, declared, out=str(tmp_path / "run"))
    (said,) = caplog.messages
    assert "7 of 8 images that" in said
    assert said.endswith(
        "failed: 'lost-0.png', 'lost-1.png', 'lost-2.png', 'lost-3.png', 'lost-4.png', ..."
    )


def test_prompts_of_a_set_pair_imports_with_runs_of_it(tmp_path: Path) -> None:
    text = tmp_path / "set.txt"
    text.write_text("prompt 1\nprompt 0\n")
    (tmp_path / "t.csv").write_text("file,prompt\n0.png,prompt 0\n1.png,prompt 1\n")
    mine = folder(tmp_path / "mine", {f"{i}.png": picture(i) for i in range(2)})
    declared = Declared(prompts=str(text), manifest=str(tmp_path / "t.csv"))
    run = import_images(mine, declared, out=str(tmp_path / "run"))
    assert run.frame("images")["prompt_id"].tolist() == ["set-0001", "set-0000"]
    text.write_text("prompt 1\n")
    with pytest.raises(HarnessError, match=r"1 of 2 images have a prompt that .* does not hold"):
        import_images(mine, declared, out=str(tmp_path / "run"))


def test_results_may_lie_among_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    folder(Path("."), {f"{i}.png": picture(i) for i in range(3)})
    for _ in range(2):
        assert harness(monkeypatch, "evaluate", ".", "--metrics", "test-red") == 0
    assert len(only_run().frame("images")) == 3


def test_other_mistakes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    mine = folder(tmp_path / "mine", {"0.png": picture(0)})
    other = folder(tmp_path / "other", {"0.png": picture(0)})
    assert harness(monkeypatch, "import", mine, "--out", "run") == 0
    for arguments, words in (
        (["import", other, "--out", "run"], "holds the images of"),
        (["evaluate", "run", "--metrics", "test-red", "--prompts", "x.csv"], "its own prompts"),
        (["evaluate", ".", "--metrics", "test-red"], "holds runs: name them, for example"),
        (["evaluate", mine, other, "--metrics", "test-red", "--out", "x"], "give one"),
        (["evaluate", mine, "--metrics", "test-rad"], "did you mean 'test-red'"),
        (["evaluate", mine, "--metrics", "test-fits"], "test-fits needs prompts"),
        (["evaluate", mine, "--metrics", "test-red", "--prompts", "no.csv"], "no prompt file"),
    ):
        assert harness(monkeypatch, *arguments) == 2
        assert words in capsys.readouterr().err


SCORED = "shapes-clip,shapes-fd(allow_few=true),contrast"


def _evaluate(source: str, prompts: str, out: Path, *launcher: str) -> list[str]:
    command = [sys.executable, *(launcher or ["-m"]), "harness"]
    return [*command, "evaluate", source, "--prompts", prompts, "--metrics", SCORED,
            "--device", "cpu", "--out", str(out)]  # fmt: skip


def _files(run: Path) -> dict[str, bytes]:
    return {str(file.relative_to(run)): file.read_bytes() for file in run.rglob("*.parquet")}


@pytest.mark.slow
def test_ranks_and_a_killed_evaluation_give_the_same_bytes(tmp_path: Path) -> None:
    """One process, two under torchrun, and one killed in the middle and begun again."""
    rng = np.random.default_rng(0)
    texts = [prompt.text for prompt in load_prompts("shapes", limit=100).prompts]
    rows = ["file,prompt,seed"]
    names: dict[str, bytes] = {}
    for at in range(700):
        names[f"{at}.png"] = encoded(Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)))
        rows.append(f'{at}.png,"{texts[at % 100]}",{at // 100}')
    names["5.png"] = b"?"
    source = zipped(tmp_path / "mine.zip", names)
    (tmp_path / "table.csv").write_text("\n".join(rows) + "\n")
    table = str(tmp_path / "table.csv")

    one, two, killed = (tmp_path / name for name in ("one", "two", "killed"))
    subprocess.run(_evaluate(source, table, one), check=True, capture_output=True)
    expected = _files(one)
    assert len(expected) == 4 * 6
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(
        _evaluate(source, table, two, *launcher), check=True, capture_output=True, env=environment
    )
    assert _files(two) == expected

    process = subprocess.Popen(
        _evaluate(source, table, killed), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not any(killed.glob("scores/*/part-*")) and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    survived = _files(killed)
    assert 6 < len(survived) < len(expected)
    # images are imported at once, and a broken one is found when its turn comes
    found = {name: data for name, data in survived.items() if not name.startswith("images")}
    assert all(expected[name] == data for name, data in found.items())
    subprocess.run(_evaluate(source, table, killed), check=True, capture_output=True)
    assert _files(killed) == expected
