"""Every kind of fault in a run's files is named by who reads them, and can be repaired."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import harness
from tests.conftest import harness as command

SHARDS = 3
IMAGES = "images/part-00001-00000.parquet"
SCORES = "scores/contrast/part-00001-00000.parquet"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run at `ours`, its baseline at `other`; both scored and compared."""
    root = tmp_path_factory.mktemp("made")
    prompts = root / "prompts.txt"
    prompts.write_text("\n".join(f"class {i % 10}" for i in range(6)))
    for name, steps in (("ours", 3), ("other", 4)):
        sampler = f"ddim(steps={steps})"
        harness.generate(
            sampler, model="gmm", prompts=prompts, seeds=f"0-{SHARDS - 1}", out=root / name
        )
        harness.evaluate(root / name, "contrast")
    harness.compare(root / "ours", root / "other", metrics="contrast").report()
    return root


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "made")
    return tmp_path / "made"


def rewritten(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """As somebody's script would: read, changed and written, with the metadata as it was."""
    table = pq.read_table(path)
    pq.write_table(change(table).replace_schema_metadata(table.schema.metadata), path)


def with_column(table: pa.Table, name: str, values: list[object]) -> pa.Table:
    at = table.schema.get_field_index(name)
    return table.set_column(at, name, pa.array(values, table.schema.field(name).type))


def edited_scores(root: Path) -> None:
    rewritten(
        root / "ours" / SCORES,
        lambda table: with_column(table, "value", [v + 1 for v in table["value"].to_pylist()]),
    )


def shifted_scores(root: Path) -> None:
    def shift(table: pa.Table) -> pa.Table:
        return pa.concat_tables([table.slice(3), table.slice(0, 3)])

    rewritten(root / "ours" / SCORES, shift)


def edited_prompts(root: Path) -> None:
    rewritten(root / "ours" / IMAGES, lambda t: with_column(t, "seed", [7] * len(t)))


def others_images(root: Path) -> None:
    shutil.copy(root / "other" / IMAGES, root / "ours" / IMAGES)


def others_scores(root: Path) -> None:
    shutil.copy(root / "other" / SCORES, root / "ours" / SCORES)


def moved_scores(root: Path) -> None:
    shutil.copy(root / "ours" / SCORES.replace("00001-", "00000-"), root / "ours" / SCORES)


def unmarked_scores(root: Path) -> None:
    path = root / "ours" / SCORES
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)


def cut_images(root: Path) -> None:
    path = root / "ours" / IMAGES
    path.write_bytes(path.read_bytes()[:-200])


def flipped_picture(root: Path) -> None:
    flip(root / "ours" / IMAGES, 300, 3)


def edited_run(root: Path) -> None:
    path = root / "ours" / "run.json"
    record = json.loads(path.read_text())
    record["spec"]["sampler"]["params"]["steps"] = 5
    path.write_text(json.dumps(record))


def lost_record(root: Path) -> None:
    (root / "ours" / "run.json").unlink()


def flip(path: Path, at: int, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


FAULTS = {
    edited_scores: SCORES,
    shifted_scores: SCORES,
    edited_prompts: IMAGES,
    others_images: IMAGES,
    others_scores: SCORES,
    moved_scores: SCORES,
    unmarked_scores: SCORES,
    cut_images: IMAGES,
    flipped_picture: IMAGES,
    edited_run: "run.json",
    lost_record: "ours",
}
UNSEEN_BY_RESUMING = {flipped_picture}  # which reads footers alone


def read(root: Path, reader: str) -> int:
    """The exit code of a command on the run, after a generate on what scores it has."""
    ours, other = root / "ours", root / "other"
    options = ["--model", "gmm", "--prompts", str(root / "prompts.txt"), "--seeds", "0-2"]
    arguments = {
        "generate": ["generate", "ddim(steps=3)", *options, "--out", str(ours)],
        "evaluate": ["evaluate", str(ours), "--metrics", "contrast"],
        "compare": ["compare", str(ours), str(other), "--metrics", "contrast"],
        "doctor": ["doctor", str(ours)],
    }[reader]
    with pytest.MonkeyPatch.context() as patch:
        return command(patch, *arguments)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_is_named_by_every_reader(
    runs: Path, fault: Callable[[Path], None], capfd: pytest.CaptureFixture[str]
) -> None:
    fault(runs)
    before = {p: p.read_bytes() for p in (runs / "ours").rglob("*.parquet")}
    of_images = FAULTS[fault] != SCORES
    readers = {"evaluate", "compare", "doctor"} | ({"generate"} if of_images else set())
    for reader in sorted(readers - ({"generate"} if fault in UNSEEN_BY_RESUMING else set())):
        code = read(runs, reader)
        said = "".join(capfd.readouterr())
        assert code != 0, reader
        assert FAULTS[fault] in said, (reader, said)
        assert "Traceback" not in said
        if reader != "doctor":
            assert any(word in said for word in ("--repair", "another", "Undo")), said
    after = {p: p.read_bytes() for p in (runs / "ours").rglob("*.parquet")}
    assert {p: b for p, b in after.items() if p in before} == before


REPAIRABLE = [fault for fault in FAULTS if fault not in (edited_run, lost_record)]


@pytest.mark.parametrize("fault", REPAIRABLE, ids=lambda fault: fault.__name__)
def test_a_fault_is_repaired_to_the_same_bytes(
    made: Path, runs: Path, fault: Callable[[Path], None], capfd: pytest.CaptureFixture[str]
) -> None:
    fault(runs)
    with pytest.MonkeyPatch.context() as patch:
        assert command(patch, "doctor", str(runs / "ours"), "--repair") == 0
        said = capfd.readouterr().out
        assert str(runs / "ours" / FAULTS[fault]) in said
        assert said.endswith("nothing is wrong\n")
    for path in [*(made / "ours/images").iterdir(), *(made / "ours/scores").rglob("*.parquet")]:
        held = runs / path.relative_to(made)
        assert held.read_bytes() == path.read_bytes(), path.name
    assert read(runs, "compare") == 0


def test_random_bit_flips_are_all_named(runs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(16)
    files = sorted(p for p in (runs / "ours").rglob("part-*.parquet"))
    kinds = {p.relative_to(runs / "ours").parts[0] for p in files}
    assert kinds == {"images", "timing", "guidance", "scores"}
    for at in range(24):
        path = files[int(rng.integers(len(files)))]
        whole, state = path.read_bytes(), path.stat()
        flip(path, int(rng.integers(len(whole))), int(rng.integers(8)))
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))  # as decay would leave it
        for reader in ("doctor", "compare", "evaluate"):
            if reader == "evaluate" and path.parent.name in ("timing", "guidance"):
                continue
            if reader == "compare" and path.parent.name == "guidance":
                continue
            assert read(runs, reader) != 0, (at, reader, path)
            assert str(path) in "".join(capfd.readouterr())
        path.write_bytes(whole)
    assert read(runs, "doctor") == 0
