"""The guidance scale of each image of a run, as stored when the image was made."""

from __future__ import annotations

from harness.core.errors import HarnessError
from harness.store import files
from harness.store.run import Run

NOMINAL, GA_EVAL = "nominal", "ga_eval"


def run_beside(path: str, run_id: str) -> Run:
    """The run of this id in the same folder as the run at `path`."""
    found = Run.open(files.join(files.parent(path), run_id))
    if found.spec.run_id != run_id:
        raise HarnessError(f"{found.path} holds the run {found.spec.run_id}: do not rename runs")
    return found


def image_scales(run: Run, shard: str, estimate: str = NOMINAL) -> dict[str, float | None]:
    """By item: the nominal scale, or `ga_eval`; None of images that failed.

    Raises HarnessError where the shard is not there, or an image has no scale.
    """
    for kind in ("images", "guidance"):
        if run.items_key(kind, shard) is None:
            raise HarnessError(f"{run.path} holds no {kind} of {shard}: generate that run first")
    images = run.read("images", shard, ["item_id", "failed", "guidance_scale"])
    ids, failed = images["item_id"].to_pylist(), images["failed"].to_pylist()
    values = images["guidance_scale"].to_pylist()
    if estimate == GA_EVAL:
        kept = run.read("guidance", shard)
        if "ga_eval" not in kept.column_names:
            raise HarnessError(f"{run.path} was made by a version that did not keep ga_eval")
        known = dict(zip(kept["item_id"].to_pylist(), kept["ga_eval"].to_pylist(), strict=True))
        values = [known.get(item) for item in ids]
    rows = list(zip(ids, failed, values, strict=True))
    for item, reason, value in rows:
        if reason is None and value is None:
            raise HarnessError(
                f"image {item} of {run.path} has no {estimate} guidance scale of its own: "
                + _WHY[estimate]
            )
    return {item: None if reason else value for item, reason, value in rows}


_WHY = {
    NOMINAL: "at some of its steps it is not known how far guidance moves, or they cancel",
    GA_EVAL: "that is for steps that are altered (zigzag, w2sd) and evaluate both branches",
}
