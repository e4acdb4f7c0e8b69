"""Runs in a bucket, of a server on this machine that speaks S3's protocol."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import harness
from tests.conftest import harness as command

pytest.importorskip("s3fs", reason="the extra s3 is not installed")
server = pytest.importorskip("moto.server", reason="moto, a server of S3's protocol, is missing")

SAMPLER = "ddim(steps=3, eta=1)"
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    started = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    started.start()
    _, port = started.get_host_and_port()
    yield {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "anybody",
        "AWS_SECRET_ACCESS_KEY": "anything",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }
    started.stop()


@pytest.fixture
def bucket(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The store's file system, with an empty bucket `results`."""
    from s3fs import S3FileSystem

    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    S3FileSystem.clear_instance_cache()
    fs = S3FileSystem()
    if fs.exists("results"):
        fs.rm("results", recursive=True)
    fs.mkdir("results")
    yield fs
    S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prompts") / "prompts.txt"
    path.write_text("class 0\nclass 1\nclass 2\n")
    return path


def contents(fs: Any, folder: str) -> dict[str, bytes]:
    """The shards of a run whose bytes do not depend on the clock."""
    kinds = (f"{folder}/{kind}/" for kind in ("images", "guidance", "scores"))
    paths = sorted(path for kind in kinds for path in fs.find(kind))
    return {path.removeprefix(f"{folder}/"): fs.cat_file(path) for path in paths}


def local(folder: Path) -> dict[str, bytes]:
    import fsspec

    return contents(fsspec.filesystem("file"), str(folder))


@pytest.mark.slow
def test_a_bucket_holds_what_a_folder_would(prompts: Path, bucket: Any, tmp_path: Path) -> None:
    """Made, scored, compared and told; the same bytes."""
    for root in ("s3://results", str(tmp_path)):
        for name, sampler in (("ours", "heun(steps=2)"), ("other", SAMPLER)):
            where = f"{root}/{name}"
            run = harness.generate(
                sampler, model="gmm", prompts=prompts, seeds="0-1", device="cpu", out=where
            )
            harness.evaluate(run, "contrast")
        found = harness.compare(f"{root}/ours", f"{root}/other", metrics="contrast")
        assert str(found.report()) == f"{root}/ours/report/index.html"
        assert found.rates["pairs"].tolist()[0] == 6
    for name in ("ours", "other"):
        assert contents(bucket, f"results/{name}") == local(tmp_path / name) != {}
    assert bucket.exists("results/ours/report/index.html")


def test_a_run_in_a_bucket_is_made_and_scored(bucket: Any, tmp_path: Path) -> None:
    for root in ("s3://results", str(tmp_path)):
        how = {"prompts": "unprompted", "model": "gmm", "device": "cpu", "out": f"{root}/run"}
        harness.evaluate(harness.generate("ddim(steps=1)", seeds="0-1", **how), "contrast")
    assert contents(bucket, "results/run") == local(tmp_path / "run") != {}


def test_a_mistyped_bucket_is_never_made(
    bucket: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = ["generate", "ddim(steps=2)", "--model", "gmm", "--prompts", "unprompted"]
    asked += ["--out", "s3://result/run"]
    assert command(monkeypatch, *asked) == 2
    said = capfd.readouterr().err
    assert "there is no bucket 'result'" in said
    assert said.count("harness: ") == 1
    assert bucket.ls("") == ["results"]


@pytest.mark.parametrize("asked", [["generate", "ddim"], ["evaluate"], ["compare"]])
def test_a_store_that_does_not_answer_is_one_message(
    asked: list[str],
    bucket: Any,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    type(bucket).clear_instance_cache()
    run = "s3://results/run"
    options = [run, run]
    if asked[0] == "generate":
        options = ["--model", "gmm", "--prompts", "unprompted", "--out", run]
    if asked[0] == "evaluate":
        options = [run, "--metrics", "contrast"]
    assert command(monkeypatch, *asked, *options) == 2
    said = capfd.readouterr().err
    assert "harness: cannot reach s3://results/run" in said
    assert said.count("harness: ") == 1
    assert "Traceback" not in said


def test_what_another_process_wrote_is_seen(bucket: Any) -> None:
    """Listings are remembered by clients of such stores."""
    from harness.store import files

    bucket.pipe_file("results/run/images/part-1.parquet", b"1")
    assert files.list_files("s3://results/run/images", ".parquet") == ["part-1.parquet"]
    behind = type(bucket)(skip_instance_cache=True)
    behind.pipe_file("results/run/images/part-2.parquet", b"2")
    assert len(files.list_files("s3://results/run/images", ".parquet")) == 2
    assert files.exists("s3://results/run/images/part-2.parquet")


def test_of_two_that_write_a_new_file_one_does(bucket: Any) -> None:
    from harness.store import files

    written = [files.write_new("s3://results/run/run.json", data) for data in (b"1", b"2")]
    assert written == [True, False]
    assert files.read_bytes("s3://results/run/run.json") == b"1"


def _generate(out: str, prompts: Path, *launcher: str) -> list[str]:
    asked = ["generate", "ddim(steps=80, eta=1)", "--model", "gmm", "--prompts", str(prompts)]
    options = ["--seeds", "0-5", "--device", "cpu", "--out", out]
    return [sys.executable, *launcher, "-m", "harness", *asked, *options]


@pytest.mark.long
@pytest.mark.slow
def test_two_processes_killed_and_resumed(
    prompts: Path, bucket: Any, environment: dict[str, str], tmp_path: Path
) -> None:
    """All processes die; the same command makes the rest; the bytes are those of one process."""
    env = {**os.environ, **environment, "OMP_NUM_THREADS": "1"}
    subprocess.run(_generate(str(tmp_path / "run"), prompts), env=env, check=True)
    two = _generate("s3://results/run", prompts, *TORCHRUN)
    killed = subprocess.Popen(two, env=env, start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not bucket.exists("results/run/images") and time.monotonic() < deadline:
        time.sleep(0.02)
        bucket.invalidate_cache()
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    bucket.invalidate_cache()
    survived = contents(bucket, "results/run")
    expected = local(tmp_path / "run")
    assert 0 < len(survived) < len(expected)
    assert survived.items() <= expected.items()
    subprocess.run(two, env=env, check=True)
    bucket.invalidate_cache()
    assert contents(bucket, "results/run") == expected
    scored = [sys.executable, *TORCHRUN, "-m", "harness", "evaluate", "s3://results/run"]
    subprocess.run([*scored, "--metrics", "contrast", "--device", "cpu"], env=env, check=True)
    harness.evaluate(tmp_path / "run", "contrast", device="cpu")
    bucket.invalidate_cache()
    assert contents(bucket, "results/run") == local(tmp_path / "run")


ALL_PROCESSES = """
from harness.cli import main
from harness.experiments import stages
stages.planned_processes = lambda work, settings, most: most
main()
"""
"""The command, with as many processes as it may have however little the work is."""


@pytest.mark.long
@pytest.mark.slow
def test_a_benchmark_in_a_bucket(bucket: Any, environment: dict[str, str], tmp_path: Path) -> None:
    env = {**os.environ, **environment, "OMP_NUM_THREADS": "1"}
    asked = ["bench", "heun(steps=3)", "--tiny", "--limit", "4", "--device", "cpu", "--workers"]
    command = [sys.executable, "-c", ALL_PROCESSES, *asked]
    told = []
    for root, workers in ((str(tmp_path), "1"), ("s3://results", "2")):
        done = subprocess.run(
            [*command, workers, "--results", root], env=env, check=True, capture_output=True,
            text=True,
        )  # fmt: skip
        told.append(done.stdout.replace(root, "ROOT"))
    bucket.invalidate_cache()
    names = [path.partition("/")[2] for path in bucket.find("results")]
    assert {name for name in names if name.endswith(".html")} == {
        str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.html")
    }
    runs = [path.parent.relative_to(tmp_path) for path in tmp_path.rglob("images")]
    assert len(runs) > 2
    for run in runs:
        assert contents(bucket, f"results/{run}") == local(tmp_path / run)
