"""Sealing a run of an earlier version: its shards are written again, with whose they are."""

from __future__ import annotations

from harness.core.errors import HarnessError
from harness.store import files
from harness.store.inspection import MADE, inspect_run, kinds_of
from harness.store.ownership import SEALED
from harness.store.run import Run
from harness.store.scores import PICTURES, images_key
from harness.store.sealing import CONTENT


def seal(run: Run) -> int:
    """Write all shards of a run anew with its id and hashes, as they are now; their number.

    What was interrupted is completed by sealing again. Raises HarnessError where a file is foreign
    or damaged: sealing would hide it.
    """
    faults, _ = inspect_run(run)
    if bad := [fault for fault in faults if fault.what in ("foreign", "damaged")]:
        raise HarnessError(
            f"{bad[0]}. Sealing would hide {len(bad)} such: `harness doctor {run.path} --repair` "
            "makes them again"
        )
    keys = {name: images_key(run, name) for name in run.shards("images")}
    count = 0
    for kind in kinds_of(run):
        for name in run.shards(kind):
            count += _seal_shard(run, kind, name, keys.get(name, ""))
    record = {**run.record, SEALED: True}
    files.write_json(files.join(run.path, "run.json"), record, run.owner)
    return count


def _seal_shard(run: Run, kind: str, name: str, key: str) -> bool:
    table = run.read(kind, name)
    held = files.metadata(table)
    if "run" in held:
        return False
    pictures = run.metadata("images", name).get(CONTENT)
    of = {PICTURES: pictures} if pictures and kind not in MADE else {}
    run.write(kind, name, table, held.get("items", key), {**held, **of})
    return True
