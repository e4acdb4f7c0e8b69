"""The index of a run's small files changes how fast they are read, and nothing else."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.comparison import MetricInfo, compare
from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.core.run_spec import RunSpec
from harness.store import files, index
from harness.store.run import Run
from harness.store.schema import IMAGES, SCORES
from tests.comparison.synthetic_runs import Item, make_run, score

LEAST = 4
KIND = "scores/good"
LIGHT = ["value", "reason"]
IMAGE_COLUMNS = ["item_id", "seed", "failed", "nfe", "nfe_by_branch", "guidance_scale"]
GOOD = MetricInfo("good", "higher")


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "LEAST", LEAST)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Shards' own files that were read together."""
    seen: list[str] = []
    read = files.read_tables

    def watched(paths: list[str], columns: list[str] | None = None) -> list[pa.Table]:
        seen.extend(paths)
        return read(paths, columns)

    monkeypatch.setattr(files, "read_tables", watched)
    return seen


def age(folder: Path | str, seconds: float = 60) -> None:
    """Make all files below a folder older, each by another time."""
    for at, path in enumerate(sorted(Path(folder).rglob("*.parquet"))):
        when = path.stat().st_mtime_ns - int(seconds * 1e9) - 1000 * at
        os.utime(path, ns=(when, when))


def contender(folder: Path, shards: int = 6, shift: float = 0.0, sampler: str = "ddim") -> Run:
    """A run of two prompts a shard, one of them failed, with scores; its files are not young."""
    rng = np.random.default_rng(0)
    items = [
        Item(f"p{at:02d}", 0, {"good": float(rng.random()) + shift}, category="ab"[at % 2])
        for at in range(2 * shards)
    ]
    items[3] = Item("p03", 0, {"good": None}, failed="blank")
    run = make_run(str(folder), items, Call(sampler, {"steps": 10}), shard_size=2, guidance=5.0)
    age(folder)
    return run


def rescored(run: Run, shard: str, value: float) -> None:
    """The same items scored again by another version: a file of the same length."""
    items = run.read("images", shard, ["item_id"])["item_id"].to_pylist()
    old = run.read(KIND, shard)
    values = pa.array([value] * len(items))
    table = pa.table(
        [items, old["metric"], values, pa.nulls(len(items), pa.string())], SCORES.names
    )
    key = str(run.items_key("images", shard))
    run.write(KIND, shard, table.cast(SCORES), key, {"identity": "version 2"})


def both(run: Run, kind: str, columns: list[str], names: list[str] | None = None) -> None:
    """What is read is what the shards' own files hold."""
    names = run.shards(kind) if names is None else names
    found = run.read_all(kind, names, columns)
    tables = [run.read(kind, name, columns) for name in names]
    assert found.names == names
    assert found.counts.tolist() == [len(table) for table in tables]
    assert found.mark("items") == {name: run.items_key(kind, name) for name in names}
    own = [files.metadata(table).get("identity") for table in tables]
    assert found.marks["identity"] == own
    rows = [row for table in tables for row in table.to_pylist()]
    assert found.table.to_pylist() == rows


def test_an_index_serves_what_the_files_hold_and_opens_none_of_them(
    tmp_path: Path, opened: list[str]
) -> None:
    run = contender(tmp_path)
    run.update_index()
    opened.clear()
    for kind, columns in ((KIND, LIGHT), ("images", IMAGE_COLUMNS), ("timing", ["seconds"])):
        both(run, kind, columns)
        both(run, kind, columns, run.shards(kind)[::-1][:LEAST])
    both(run, KIND, ["reason"])
    assert opened == []
    both(run, KIND, ["item_id", "value"])  # the index does not hold every column
    both(run, KIND, LIGHT, run.shards(KIND)[: LEAST - 1])
    assert len(opened) == 6 + LEAST - 1


def test_items_are_found_in_their_shards(tmp_path: Path) -> None:
    run = contender(tmp_path)
    expected = {"part-00000-00001": {"p03/0": 1}, "part-00000-00004": {"p08/0": 0, "p09/0": 1}}
    for _ in range(2):
        assert run.places(["p09/0", "p03/0", "p08/0", "nowhere/0"]) == expected
        assert run.places([]) == {}
        run.update_index()
    for name in run.shards():
        run.drop(name)
    assert run.places(["p09/0"]) == {}


def test_a_file_written_anew_is_read_itself(tmp_path: Path, opened: list[str]) -> None:
    """Of the same length, and as old as before but for a microsecond."""
    run = contender(tmp_path)
    run.update_index()
    path = Path(run.file(KIND, "part-00000-00002"))
    before = path.stat()
    rescored(run, "part-00000-00002", 0.25)
    rescored(run, "part-00000-00002", 0.75)
    when = before.st_mtime_ns + 1000
    os.utime(path, ns=(when, when))
    opened.clear()
    found = run.read_all(KIND, run.shards(KIND), LIGHT)
    assert found.table["value"].to_pylist()[4:6] == [0.75, 0.75]
    assert opened == [str(path)]
    both(run, KIND, LIGHT)


def test_random_histories_never_show_an_old_row(tmp_path: Path) -> None:
    """Shards written anew, added and removed, the index updated, lost, damaged and killed."""
    rng = np.random.default_rng(5)
    run, spare = contender(tmp_path / "a", 8), contender(tmp_path / "b", 16)
    where = tmp_path / "a/index/scores/good.parquet"

    def change() -> None:
        rescored(run, str(rng.choice(run.shards())), float(rng.random()))

    def add() -> None:
        name = str(rng.choice(spare.shards()))
        for kind in ("images", KIND):
            data = files.read_bytes(spare.file(kind, name))
            files.write_bytes(run.file(kind, name), data)

    def remove() -> None:
        if len(run.shards()) > 5:
            run.drop(str(rng.choice(run.shards())))

    def lose() -> None:
        files.remove(str(where))

    def damage() -> None:
        if where.exists():
            files.write_bytes(str(where), where.read_bytes()[: int(rng.integers(1, 200))])

    def kill() -> None:
        def stop(*args: object) -> None:
            raise KeyboardInterrupt

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "replace", stop)
            try:
                run.update_index()
            except KeyboardInterrupt:
                return

    steps: list[Callable[[], None]] = [
        change, change, add, remove, lose, damage, kill, run.update_index, run.update_index,
    ]  # fmt: skip
    written = 0
    for at in range(70):
        steps[int(rng.integers(len(steps)))]()
        if rng.random() < 0.5:
            age(tmp_path / "a", 3 + at)
        both(run, KIND, LIGHT)
        both(run, "images", IMAGE_COLUMNS)
        written += where.exists()
    assert 10 < written < 70
    assert not list((tmp_path / "a/index").rglob(".*"))


def test_young_files_are_left_out(tmp_path: Path) -> None:
    """What is written next could be as old by a file system's clock."""
    run = contender(tmp_path)
    for name in run.shards()[:3]:
        rescored(run, name, 0.5)
    run.update_index()
    assert not (tmp_path / "index" / f"{KIND}.parquet").exists()  # 3 of 6 are fewer than LEAST
    age(tmp_path)
    run.update_index()
    assert pq.read_table(tmp_path / "index" / f"{KIND}.parquet").num_rows == 6
    both(run, KIND, LIGHT)


def test_it_is_written_anew_for_many_new_shards_only(tmp_path: Path) -> None:
    run, more = contender(tmp_path / "a"), contender(tmp_path / "b", 6 + LEAST)
    run.update_index()
    where = tmp_path / "a" / "index" / "images.parquet"
    before = where.read_bytes()
    for name in more.shards()[6:]:
        assert where.read_bytes() == before
        os.replace(more.file("images", name), run.file("images", name))
        run.update_index()
    assert pq.read_table(where).num_rows == 6 + LEAST
    both(run, "images", IMAGE_COLUMNS)


def test_shards_of_another_schema_are_read_themselves(tmp_path: Path) -> None:
    run = contender(tmp_path, 7)
    name = run.shards()[2]
    table = run.read("images", name)
    other = table.set_column(5, "seed", table["seed"].cast(pa.int32()))
    run.write("images", name, other, str(run.items_key("images", name)))
    age(tmp_path)
    run.update_index()
    held = pq.read_table(tmp_path / "index/images.parquet")["shard_name"].to_pylist()
    assert held == [one for one in run.shards() if one != name]
    both(run, "images", ["item_id", "nfe_by_branch"])


@pytest.mark.parametrize("part", [slice(0, 0), slice(100), slice(4, None), slice(-60, None)])
def test_a_damaged_shard_is_left_out_and_refused_where_it_is_read(
    part: slice, tmp_path: Path
) -> None:
    run = contender(tmp_path)
    path = Path(run.file(KIND, "part-00000-00002"))
    path.write_bytes(path.read_bytes()[part])
    age(tmp_path)
    run.update_index()
    assert pq.read_table(tmp_path / f"index/{KIND}.parquet").num_rows == 5
    with pytest.raises(HarnessError, match=r"part-00000-00002.parquet is damaged: .*\. Remove it"):
        run.read_all(KIND, run.shards(KIND), LIGHT)


def test_a_folder_that_cannot_be_written_to_is_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = contender(tmp_path)

    def refuse(path: str, data: bytes, *keeper: object) -> None:
        raise HarnessError(f"cannot write {path}: Read-only file system")

    monkeypatch.setattr(files, "write_bytes", refuse)
    run.update_index()
    assert "comparisons take longer: cannot write" in caplog.text
    both(run, KIND, LIGHT)


def test_several_writers_and_readers_at_once(tmp_path: Path) -> None:
    """Every read is whole: each shard's two values are from one writing of it, none too old."""
    run = contender(tmp_path, 8)
    names, latest, wrong = run.shards(), dict.fromkeys(run.shards(), 0), []
    for name in names:
        rescored(run, name, 0.0)
    reads: list[int] = []

    def write(mine: list[str]) -> None:
        for value in range(1, 9):
            for name in mine:
                rescored(run, name, float(value))
                age_one(run.file(KIND, name), value)
                latest[name] = value

    def age_one(path: str, value: int) -> None:
        when = (1_000_000 + value) * 1_000_000_000
        os.utime(path, ns=(when, when))

    def tend() -> None:
        while any(thread.is_alive() for thread in writers):
            run.update_index()

    def look() -> None:
        while any(thread.is_alive() for thread in writers) or not reads:
            least = dict(latest)
            values = run.read_all(KIND, names, LIGHT).table["value"].to_numpy().reshape(-1, 2)
            for name, pair in zip(names, values, strict=True):
                if pair[0] != pair[1] or pair[0] < least[name]:
                    wrong.append((name, pair, least[name]))
            reads.append(len(values))

    writers = [threading.Thread(target=write, args=(part,)) for part in (names[:4], names[4:])]
    others = [threading.Thread(target=work) for work in (tend, tend, look)]
    for thread in [*writers, *others]:
        thread.start()
    for thread in [*writers, *others]:
        thread.join()
    assert wrong == []
    assert set(latest.values()) == {8}
    both(run, KIND, LIGHT)


def test_a_comparison_is_the_same_bytes_with_and_without(tmp_path: Path, opened: list[str]) -> None:
    run, own = contender(tmp_path / "a", 6, 0.1, "zigzag"), contender(tmp_path / "b")
    compare(run, {"own": own}, [GOOD], str(tmp_path / "plain"))
    assert opened
    for one in (run, own):
        one.update_index()
    opened.clear()
    compare(run, {"own": own}, [GOOD], str(tmp_path / "fast"))
    # Seconds of batches, which only a run of few shards needs, are not in the index.
    assert [path for path in opened if "/timing/" not in path] == []
    tables = sorted((tmp_path / "plain/compare").glob("*.parquet"))
    assert len(tables) == 4
    for table in tables:
        assert table.read_bytes() == (tmp_path / "fast/compare" / table.name).read_bytes()


def test_scores_of_images_that_changed_are_refused_all_the_same(tmp_path: Path) -> None:
    """As by an import whose source has changed."""
    run, own = contender(tmp_path / "a", 6, 0.1, "zigzag"), contender(tmp_path / "b")
    for one in (run, own):
        one.update_index()
    images = run.read("images", "part-00000-00001").replace_schema_metadata(None)
    run.write("images", "part-00000-00001", images, "other")
    with pytest.raises(HarnessError, match="outdated for 1 of 6 shards"):
        compare(run, {"own": own}, [GOOD], str(tmp_path))
    score(run, "part-00000-00001", "good", [Item("p02", 0, {"good": 1.0}), Item("p03", 0)],
          {"items": "other", "identity": "version 1"})  # fmt: skip
    result = compare(run, {"own": own}, [GOOD], str(tmp_path))
    assert result.pairs["a_value"].tolist()[2] == 1.0


def test_behind_a_url(opened: list[str]) -> None:
    spec = RunSpec("shapes", Call("ddim"), None, "float32", "prompt")
    run = Run.create("memory://indexed/run", spec, {}, {})
    for at in range(6):
        table = pa.table([["p/0"], ["good"], [float(at)], [None]], schema=SCORES)
        run.write(KIND, f"part-00000-{at:05d}", table, "same items")
    run.update_index()
    opened.clear()
    both(run, KIND, LIGHT)
    assert opened == []
    again = pa.table([["p/0"], ["good"], [9.0], [None]], schema=SCORES)
    run.write(KIND, "part-00000-00003", again, "same items")
    assert run.read_all(KIND, run.shards(KIND), LIGHT).table["value"].to_pylist()[3] == 9.0
    assert opened == [run.file(KIND, "part-00000-00003")]
    assert set(IMAGES.names) > set(IMAGE_COLUMNS)


def test_a_file_changed_in_place_is_not_hidden_by_a_time_that_is_set_back(tmp_path: Path) -> None:
    run = contender(tmp_path)
    run.update_index()
    path = Path(run.file(KIND, "part-00000-00002"))
    state, data = path.stat(), bytearray(path.read_bytes())
    data[40] ^= 4
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    with pytest.raises(HarnessError, match=r"part-00000-00002.parquet is damaged"):
        run.read_all(KIND, run.shards(KIND), LIGHT)
