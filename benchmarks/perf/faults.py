"""What breaks is noticed, and what is complete is kept: faults injected into real runs.

    python benchmarks/perf/faults.py [--kills 50] [--ranks 4] [--bucket 6] [--seed 0]

Prints a row for each class of fault: how many were injected; after how many the same command went
on to the bytes of an undisturbed run; how many were told by a message or named by `harness doctor`;
and how many passed unnoticed or left wrong bytes. Takes some minutes. `--bucket` needs s3fs and
moto. Exit code 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import codecs
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

import harness
from harness import cli
from harness.store.inspection import inspect_run
from harness.store.run import Run

NOBODY = 65534
MAKES = {
    "generate": ("images", "guidance"),
    "evaluate": ("images", "scores"),
    "compare": ("images", "scores", "compare"),
}
"""What a stage leaves that does not depend on the clock."""
ALL = ("images", "guidance", "timing", "scores")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


@dataclass
class Row:
    """A class of faults. `survived`: the command, given again, came to the undisturbed bytes."""

    what: str
    injected: int = 0
    survived: int = 0
    detected: int = 0
    wrong: int = 0

    def count(self, survived: bool | None = None, detected: bool | None = None) -> None:
        self.injected += 1
        self.survived += bool(survived)
        self.detected += bool(detected)
        self.wrong += survived is False or detected is False

    def __str__(self) -> str:
        cells = (self.what, self.injected, self.survived or "-", self.detected or "-", self.wrong)
        return f"| {' | '.join(map(str, cells))} |"


class Stages:
    """The commands on a run `ours`, which is compared with `other`, below a folder or URL."""

    def __init__(self, root: str, prompts: Path, steps: int = 40) -> None:
        self.root, self._prompts, self._steps = root, prompts, steps

    def generate(self, name: str = "ours", steps: int | None = None) -> list[str]:
        sampler = f"ddim(steps={steps or self._steps}, eta=1)"
        how = ["--model", "gmm", "--prompts", str(self._prompts), "--seeds", "0-5"]
        return ["generate", sampler, *how, "--device", "cpu", "--out", f"{self.root}/{name}"]

    def evaluate(self, name: str = "ours") -> list[str]:
        where = f"{self.root}/{name}"
        return ["evaluate", where, "--metrics", "contrast,saturation", "--device", "cpu"]

    def compare(self) -> list[str]:
        return ["compare", f"{self.root}/ours", f"{self.root}/other", "--metrics", "contrast"]


def started(asked: list[str], log: Path, first: Callable[[], object] = lambda: None) -> int:
    """A copy of this process that runs a command; its id."""
    sys.stdout.flush()
    if pid := os.fork():
        return pid
    with open(log, "ab") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    code = 70
    try:
        os.setpgid(0, 0)
        first()
        sys.argv = ["harness", *asked]
        cli.main()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def finished(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def ran(asked: list[str], log: Path, first: Callable[[], object] = lambda: None) -> int:
    return finished(started(asked, log, first))


def one_message(log: Path) -> bool:
    text = log.read_text()
    return text.count("harness: ") == 1 and "Traceback" not in text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--bucket", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        warm(Path(folder, "warm"))
        bench = Bench(Path(folder), random.Random(asked.seed))
        rows = chain(
            (each() for each in (bench.flips, bench.foreign, bench.removed, bench.two_at_once)),
            (each() for each in (bench.full, bench.read_only)),
            bench.kills(asked.kills),
            (bench.bucket(count) for count in (asked.bucket,)),
            bench.ranks(asked.ranks),
        )
        print("| fault | injected | survived | detected | wrong |\n|---|---|---|---|---|")
        wrong = 0
        for row in rows:
            wrong += row.wrong
            if row.injected:
                print(row, flush=True)
    sys.exit(int(wrong > 0))


def warm(folder: Path) -> None:
    """Import here what the copies of this process need, each of which would take seconds."""
    runs = []
    codecs.lookup("utf-8-sig")  # who has no rights may not read it later
    for steps in (1, 2):
        how = {"model": "gmm", "prompts": "unprompted", "device": "cpu", "out": folder / str(steps)}
        runs.append(harness.generate(f"ddim(steps={steps})", **how))
        harness.evaluate(runs[-1], "contrast,saturation", device="cpu")
    harness.compare(*runs, metrics="contrast").report()


class Bench:
    """Injects faults; `whole` is the undisturbed run, made, scored and compared."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.folder, self.rng = folder, rng
        self.prompts = folder / "prompts.txt"
        self.prompts.write_text("class 0\nclass 1\nclass 2\nclass 3\n")
        self.whole, self.made = folder / "whole", folder / "made"
        self.log = folder / "log"
        stages = Stages(str(self.made), self.prompts)
        self.seconds: dict[str, float] = {}
        other = [stages.generate("other", 8), stages.evaluate("other")]
        for run in [*other, stages.generate(), stages.evaluate(), stages.compare()]:
            began = time.monotonic()
            assert ran(run, self.log) == 0, self.log.read_text()
            self.seconds[run[0]] = time.monotonic() - began
        self.made.rename(self.whole)

    @contextmanager
    def copy(self, *without: str) -> Iterator[tuple[Path, Stages, Path]]:
        """All as it was, without some folders of `ours`; its commands, and an empty log.

        Always in one place, as tables of comparisons name it.
        """
        shutil.rmtree(self.made, ignore_errors=True)
        shutil.copytree(self.whole, self.made)
        for name in without:
            shutil.rmtree(self.made / "ours" / name, ignore_errors=True)
        self.log.unlink(missing_ok=True)
        yield self.made, Stages(str(self.made), self.prompts), self.log

    def again(self, stages: Stages, stage: str) -> bool:
        """Whether the command, given again, leaves what an undisturbed run does."""
        if ran(getattr(stages, stage)(), self.log) == 0 and self.as_before(stage):
            return True
        print(self.log.read_text(), file=sys.stderr)
        return False

    def as_before(self, stage: str) -> bool:
        ours, whole = self.made / "ours", self.whole / "ours"
        return all(
            as_it_was(ours / path.relative_to(whole), path)
            for kind in MAKES[stage]
            for path in (whole / kind).rglob("*.parquet")
        )

    def kills(self, count: int) -> Iterator[Row]:
        drops = {"generate": ALL, "evaluate": ("scores",), "compare": ("compare",)}
        parts = {"generate": count // 2, "evaluate": count // 3}
        parts["compare"] = count - sum(parts.values())
        for stage, without in drops.items():
            row = Row(f"SIGKILL in {stage}, one process")
            for _ in range(parts[stage]):
                with self.copy(*without) as (_, stages, log):
                    pid = started(getattr(stages, stage)(), log)
                    time.sleep(self.rng.uniform(0, self.seconds[stage]))
                    os.kill(pid, signal.SIGKILL)
                    finished(pid)
                    row.count(survived=self.again(stages, stage))
            yield row

    def ranks(self, count: int) -> Iterator[Row]:
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        for what, everyone in (("one rank of two", False), ("both ranks", True)):
            row = Row(f"SIGKILL of {what}, torchrun")
            for _ in range(count // 2):
                with self.copy(*ALL) as (made, stages, log):
                    command = [*TORCHRUN, "-m", "harness", *stages.generate()]
                    with open(log, "ab") as out:
                        job = subprocess.Popen(
                            command, env=env, stdout=out, stderr=out, start_new_session=True
                        )
                    while not (made / "ours" / "images").exists() and job.poll() is None:
                        time.sleep(0.05)
                    time.sleep(self.rng.uniform(0, self.seconds["generate"] / 2))
                    if everyone:
                        os.killpg(job.pid, signal.SIGKILL)
                    elif ranks := children(job.pid):
                        os.kill(self.rng.choice(ranks), signal.SIGKILL)
                    job.wait()
                    row.count(survived=self.again(stages, "generate"))
            yield row

    def bucket(self, count: int) -> Row:
        row = Row("SIGKILL in generate, S3")
        if not count:
            return row
        with served() as environment:
            os.environ.update(environment)
            for number in range(count):
                stages = Stages(f"s3://faults/{number}", self.prompts)
                log = self.folder / f"bucket-{number}"
                pid = started(stages.generate(), log)
                time.sleep(self.rng.uniform(0.3, 1.5) * self.seconds["generate"])
                os.kill(pid, signal.SIGKILL)
                finished(pid)
                row.count(survived=ran(stages.generate(), log) == 0 and self.same_there(number))
        return row

    def same_there(self, number: int) -> bool:
        import_and_compare = (
            "import fsspec, sys, pathlib\n"
            f"fs = fsspec.filesystem('s3'); root = pathlib.Path({str(self.whole / 'ours')!r})\n"
            "paths = [p for k in ('images', 'guidance') for p in (root / k).iterdir()]\n"
            f"there = 'faults/{number}/ours/'\n"
            "same = [fs.cat_file(there + str(p.relative_to(root))) == p.read_bytes() "
            "for p in paths]\n"
            "sys.exit(not all(same))\n"
        )
        return (
            subprocess.run([sys.executable, "-c", import_and_compare], check=False).returncode == 0
        )

    def full(self) -> Row:
        """As where the disk is full: no file may become longer than so many bytes."""
        row = Row("disk full")
        for stage, without, most in (
            ("generate", ALL, 1_000),
            ("generate", ALL, 4_000),
            ("evaluate", ("scores",), 1_000),
            ("compare", ("compare",), 1_000),
        ):
            with self.copy(*without) as (_, stages, log):

                def limited(most: int = most) -> None:
                    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

                code = ran(getattr(stages, stage)(), log, limited)
                told = code not in (0, 70) and one_message(log)
                row.count(survived=self.again(stages, stage), detected=told)
        return row

    def read_only(self) -> Row:
        row = Row("read-only folder")
        for stage, without in (
            ("generate", "images"),
            ("evaluate", "scores"),
            ("compare", "compare"),
        ):
            with self.copy(without) as (made, stages, log):
                for path in [*made.rglob("*"), made]:
                    path.chmod(0o555 if path.is_dir() else 0o444)
                log.touch()
                log.chmod(0o666)
                before = sorted(made.rglob("*"))
                code = ran(getattr(stages, stage)(), log, unprivileged)
                told = code not in (0, 70) and one_message(log)
                for path in [made, *made.rglob("*")]:
                    path.chmod(0o755)
                row.count(detected=told and sorted(made.rglob("*")) == before)
        return row

    def removed(self) -> Row:
        row = Row("folder removed meanwhile")
        while row.injected < 5:
            with self.copy(*ALL) as (made, stages, log):
                pid = started(stages.generate(), log)
                after = self.rng.randint(1, 4)  # of 6 shards
                while len(list((made / "ours" / "images").glob("part-*"))) < after:
                    time.sleep(0.002)
                shutil.rmtree(made / "ours", ignore_errors=True)
                code, there = finished(pid), (made / "ours").exists()
                if code or there:  # else it was complete before
                    row.count(detected=code == 1 and one_message(log) and not there)
        return row

    def two_at_once(self) -> Row:
        row = Row("two commands at once")
        for steps in (40, 40, 41, 41):
            with self.copy(*ALL) as (made, stages, log):
                shutil.rmtree(made / "ours")
                pids = [started(stages.generate(), log)]
                time.sleep(self.rng.uniform(0, 0.3))
                pids.append(started(stages.generate(steps=steps), log))
                codes = sorted(map(finished, pids))
                if steps == 40:
                    row.count(survived=codes == [0, 0] and self.as_before("generate"))
                else:  # another run: whichever came second is refused
                    row.count(detected=codes[0] == 0 and codes[1] in (1, 2) and one_run(made))
        return row

    def flips(self) -> Row:
        row = Row("bit flipped in a file")
        for _ in range(24):
            with self.copy() as (made, _, _):
                path = self.rng.choice(sorted((made / "ours").rglob("part-*.parquet")))
                data = bytearray(path.read_bytes())
                at = self.rng.randrange(len(data) * 8)
                data[at // 8] ^= 1 << at % 8
                path.write_bytes(data)
                row.count(detected=named(made / "ours", path))
        return row

    def foreign(self) -> Row:
        row = Row("foreign or edited file")
        for kind in ("images", "guidance", "timing", "scores/contrast"):
            for change in (of_another_run, of_another_shard, edited, cut):
                with self.copy() as (made, _, _):
                    path = made / "ours" / kind / "part-00002-00000.parquet"
                    change(made, path, kind)
                    row.count(detected=named(made / "ours", path))
        return row


def as_it_was(path: Path, before: Path) -> bool:
    return path.exists() and path.read_bytes() == before.read_bytes()


def named(run: Path, path: Path) -> bool:
    """Whether `harness doctor` names the file."""
    return str(path) in {fault.path for fault in inspect_run(Run.open(str(run)))[0]}


def of_another_run(made: Path, path: Path, kind: str) -> None:
    shutil.copy(made / "other" / kind / path.name, path)


def of_another_shard(made: Path, path: Path, kind: str) -> None:
    shutil.copy(path.with_name("part-00003-00000.parquet"), path)


def edited(made: Path, path: Path, kind: str) -> None:
    table = pq.read_table(path)
    rows = table.take(pa.array([*range(1, len(table)), 0])) if len(table) > 1 else table
    pq.write_table(rows.replace_schema_metadata(table.schema.metadata), path)


def cut(made: Path, path: Path, kind: str) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def one_run(made: Path) -> bool:
    """Whether all files are of the run that the folder's record names."""
    return not [f for f in inspect_run(Run.open(str(made / "ours")))[0] if f.what == "foreign"]


def unprivileged() -> None:
    if os.getuid() == 0:
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(one) for one in found]


@contextmanager
def served() -> Iterator[dict[str, str]]:
    """A server of S3's protocol in a process of its own, with the bucket `faults`."""
    serve = (
        "import time\nfrom moto.server import ThreadedMotoServer\n"
        "s = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False)\n"
        "s.start()\nprint(s.get_host_and_port()[1], flush=True)\ntime.sleep(10**6)\n"
    )
    command = [sys.executable, "-c", serve]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert server.stdout is not None
    port = server.stdout.readline().strip()
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "anybody",
        "AWS_SECRET_ACCESS_KEY": "anything",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    make = "import fsspec; fsspec.filesystem('s3').mkdir('faults')"
    subprocess.run([sys.executable, "-c", make], env={**os.environ, **environment}, check=True)
    try:
        yield environment
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    assert harness.__version__
    main()
