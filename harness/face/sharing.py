"""Hand a run's pictures to other programs, and runs to the hub."""

from __future__ import annotations

from pathlib import Path

from harness.experiments.inputs import RunLike, Say, quiet, run_of
from harness.store import exporting


def export(
    run: RunLike, out: str | Path, *, format: str = "folder", say: Say = quiet
) -> exporting.Exported:
    """Write a run's pictures to `out`: a new folder, file, or URL (`s3://`, `hf://`).

    `format` is `folder` or `zip` as `fid.py` of EDM and EDM2 reads them (`000000/000000.png`, a
    thousand to a folder, by seed where prompts are none; with a `metadata.jsonl`), `webdataset`
    (tars with `.txt` and `.json` beside each picture), or `hf`: the run itself, whose card lists
    its tables for `datasets` and the hub; copied back with the same format. `harness.evaluate` and
    `import_images` read each of them. Returns the numbers of pictures, and of items without one.

    Raises HarnessError for an unknown format, where something is at `out` already, and where a
    store cannot be reached.
    """
    found = exporting.export(run_of(run), str(out), format)
    without = f", {found.without:,} items without a picture left out" if found.without else ""
    say(f"{out}: {found.pictures:,} pictures{without}")
    return found
