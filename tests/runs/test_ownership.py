"""A run writes into its own folder only, and leaves nothing of killed writers there."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import time
from pathlib import Path

import pytest

from harness.core.errors import HarnessError, NothingMade
from harness.core.shards import Prompt, plan_shards
from harness.runs import make
from harness.runs.folder import Settings, open_run
from harness.runs.make import generate
from harness.runs.plan import plan
from harness.store import files, leftovers
from harness.store.inspection import inspect_run
from harness.store.run import Run
from harness.store.seal_run import seal
from tests.conftest import harness as command

SETTINGS = Settings()
SHARDS = plan_shards([Prompt(f"p{i}", f"class {i % 10}") for i in range(4)], [0, 1, 2, 3])
DDIM, HEUN = plan("gmm", "ddim(steps=3)"), plan("gmm", "heun(steps=3)")


def meanwhile(monkeypatch: pytest.MonkeyPatch, at: int, act: object) -> list[int]:
    """Do something just before the shard of this number is written, by its thread."""
    write, seen = make.write_shard, []

    def watched(*arguments: object) -> None:
        if len(seen) == at:
            act()  # type: ignore[operator]
        seen.append(at)
        write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(make, "write_shard", watched)
    return seen


@pytest.mark.parametrize("at", [0, 1, 3])
def test_a_removed_folder_stops_the_run_and_is_not_made_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    at: int,
) -> None:
    prompts, out = tmp_path / "prompts.txt", tmp_path / "out"
    prompts.write_text("class 1\nclass 2\n")
    meanwhile(monkeypatch, at, lambda: shutil.rmtree(out))
    options = ["--model", "gmm", "--prompts", str(prompts), "--seeds", "0-3", "--out", str(out)]
    assert command(monkeypatch, "generate", "ddim(steps=3)", *options) == 1
    said = capfd.readouterr().err
    assert said.count("harness: ") == 1
    assert f"{out} was removed" in said
    assert not out.exists()


def test_a_folder_removed_between_the_check_and_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_run(DDIM, str(tmp_path / "out"), SETTINGS)
    replace = os.replace

    def late(*paths: str) -> None:
        shutil.rmtree(run.path)
        replace(*paths)

    monkeypatch.setattr(os, "replace", late)
    with pytest.raises(NothingMade, match="was removed"):
        run.set_cost({"picture": 1.0})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("finish", ["card", "index"])
def test_a_folder_removed_at_the_end_is_not_made_again_either(tmp_path: Path, finish: str) -> None:
    run = open_run(DDIM, str(tmp_path / "out"), SETTINGS)
    shutil.rmtree(run.path)
    with pytest.raises(NothingMade, match="was removed"):
        run.update_card() if finish == "card" else run.update_index()
    assert not (tmp_path / "out").exists()


def test_two_samplers_in_one_folder_never_mix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is removed while ddim runs, and heun begins in it before ddim's next shard."""
    folder = str(tmp_path / "out")
    run = open_run(DDIM, folder, SETTINGS)
    others: list[Run] = []

    def begin() -> None:
        with pytest.raises(HarnessError, match="holds another run"):
            open_run(HEUN, folder, SETTINGS)
        shutil.rmtree(folder)
        others.append(open_run(HEUN, folder, SETTINGS))

    meanwhile(monkeypatch, 2, begin)
    with pytest.raises(NothingMade, match="now holds another run, heun"):
        generate([(DDIM, run, shard) for shard in SHARDS], SETTINGS)
    generate([(HEUN, others[0], shard) for shard in SHARDS], SETTINGS)
    assert inspect_run(Run.open(folder)) == ([], 3 * len(SHARDS))
    assert {run.metadata("images", n)["run"] for run in others for n in run.shards()} == {
        HEUN.spec.run_id
    }


def test_a_folder_without_its_record_is_nobodys(tmp_path: Path) -> None:
    run = open_run(DDIM, str(tmp_path), SETTINGS)
    generate([(DDIM, run, shard) for shard in SHARDS[:1]], SETTINGS)
    (tmp_path / "run.json").unlink()
    for job in (DDIM, HEUN):
        with pytest.raises(HarnessError, match="nobody knows what run they are of"):
            open_run(job, str(tmp_path), SETTINGS)
    with pytest.raises(HarnessError, match="nobody knows"):
        Run.open(str(tmp_path))


def test_of_two_that_begin_at_once_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both find no record; the second writes its own first."""
    write = files.write_new

    def raced(path: str, data: bytes) -> bool:
        monkeypatch.setattr(files, "write_new", write)
        open_run(HEUN, str(tmp_path), SETTINGS)
        return write(path, data)

    monkeypatch.setattr(files, "write_new", raced)
    with pytest.raises(HarnessError, match="holds another run"):
        open_run(DDIM, str(tmp_path), SETTINGS)
    assert Run.open(str(tmp_path)).spec.run_id == HEUN.spec.run_id


def _killed(path: str) -> None:
    os.replace = lambda *_: os._exit(9)  # type: ignore[assignment]
    files.write_bytes(path, b"half")


def test_what_killed_writers_left_is_swept_by_the_next(tmp_path: Path) -> None:
    run = open_run(DDIM, str(tmp_path), SETTINGS)
    killed = []
    for name in ("images/part-00000-00000.parquet", "timing/a.parquet", "run.json"):
        child = multiprocessing.get_context("fork").Process(
            target=_killed, args=(str(tmp_path / name),)
        )
        child.start()
        child.join()
        assert child.exitcode == 9
        killed += list((tmp_path / name).parent.glob(".*.part"))
    assert len(killed) == 3
    found, _ = inspect_run(run)
    assert sorted(fault.path for fault in found) == sorted(map(str, killed))
    assert {fault.what for fault in found} == {"left over"}
    alive = files._temporary(
        str(tmp_path / "images/part-00000-00001.parquet"), lambda file: file.write(b"part"), None
    )
    leftovers._swept.clear()
    generate([(DDIM, run, SHARDS[0])], SETTINGS)
    files.write_bytes(str(tmp_path / "any"), b"")
    assert [str(p) for p in tmp_path.rglob(".*.part")] == [alive]


def test_one_that_cannot_be_seen_from_here_is_left_over_after_the_lease(tmp_path: Path) -> None:
    path = tmp_path / ".a.parquet.0123abcd-1-x.part"  # of another machine
    path.touch()
    assert leftovers.leftovers(str(tmp_path)) == []
    old = time.time() - leftovers.LEASE - 1
    os.utime(path, (old, old))
    assert leftovers.leftovers(str(tmp_path)) == [str(path)]


def test_nothing_of_the_users_own_is_swept(tmp_path: Path) -> None:
    for name in (".bashrc", ".part", ".cache.backup", "a.part", ".x.0123abcd-1-x.part.txt"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
    assert leftovers.leftovers(str(tmp_path)) == []


def test_a_folder_of_an_earlier_version_is_read_with_a_warning_and_sealed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = open_run(DDIM, str(tmp_path), SETTINGS)
    generate([(DDIM, run, shard) for shard in SHARDS], SETTINGS)
    for kind in ("images", "timing", "guidance"):
        for name in run.shards(kind):
            unseal(run, kind, name)
    files.write_json(f"{run.path}/run.json", {**run.record, "sealed": False})
    old = Run.open(run.path)
    for _ in range(2):
        assert len(old.frame("images")) == 16
    generate([(DDIM, old, shard) for shard in SHARDS], SETTINGS)
    assert caplog.text.count("was made by an earlier version") == 1
    rows = {kind: old.read_all(kind, old.shards(kind)).table for kind in ("images", "guidance")}
    assert seal(old) == 12
    whole = Run.open(run.path)
    assert {kind: whole.read_all(kind, whole.shards(kind)).table for kind in rows} == rows
    assert inspect_run(whole) == ([], 12)
    assert seal(Run.open(run.path)) == 0
    assert Run.open(run.path).owner.sealed


def unseal(run: Run, kind: str, name: str) -> None:
    import pyarrow.parquet as pq

    table = run.read(kind, name)
    items = {"items": files.metadata(table)["items"]}
    pq.write_table(table.replace_schema_metadata(items), run.file(kind, name), compression="zstd")


def test_a_folder_that_is_half_removed_counts_as_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its record is there still, the folder of the file is not."""
    run = open_run(DDIM, str(tmp_path / "run"), SETTINGS)

    def gone(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(files.tempfile, "mkstemp", gone)
    with pytest.raises(NothingMade, match="is being removed"):
        generate([(DDIM, run, SHARDS[0])], SETTINGS)
