"""Makes files of a run again that are foreign, damaged or missing."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from harness import evaluation
from harness.core.call import Call, parse_call
from harness.core.errors import HarnessError
from harness.core.shards import Shard, unprompted
from harness.experiments.inputs import Say
from harness.experiments.stages import hand_out
from harness.metrics.base import METRICS, SetMetric, make_metric
from harness.runs.costing import count_again
from harness.runs.existing import ROWS, computed_as, planned_again, shard_of_rows
from harness.runs.folder import Settings, open_run
from harness.runs.importing import import_images
from harness.runs.manifest import Declared
from harness.store import files, sealing
from harness.store.inspection import MADE, Fault, inspect_run, kinds_of
from harness.store.run import Run

log = logging.getLogger(__name__)


def repair(run: Run, faults: Sequence[Fault], settings: Settings, say: Say) -> list[Fault]:
    """Remove the files with faults and make them again: images by `generate`, scores by `evaluate`.

    `settings` gives the device and the threads; all else is the run's own. What cannot be made
    again, as its prompts are not known any more, is said. Returns the faults that are left.
    """
    lost = sorted({fault.shard for fault in faults if fault.kind in MADE and fault.shard})
    shards, unknown = _lost_shards(run, lost) if run.imported is None else ([], [])
    for name in lost:
        for kind in MADE:
            files.remove(run.file(kind, name))
    for fault in faults:
        if fault.shard is None:
            files.remove(fault.path)
    _make(run, shards, lost, settings, say)
    if any(fault.path.endswith("/cost.json") for fault in faults):
        _count_again(run, settings, say)
    for name in unknown:
        say(
            f"{run.file('images', name)}: its prompts are not known any more: run again the "
            "`harness generate` that made the run"
        )
    _evaluate_again(run, settings, say)
    return inspect_run(run)[0]


def _evaluate_again(run: Run, settings: Settings, say: Say) -> None:
    """Compute the scores and features that have faults, also as their images were made anew."""
    results = [fault for fault in inspect_run(run)[0] if fault.kind and fault.kind not in MADE]
    calls = _calls(run, {fault.kind for fault in results})
    for fault in results:
        files.remove(fault.path)
    if calls:
        say(f"evaluate {', '.join(map(str, calls))}")
        evaluation.evaluate(run, calls, device=settings.device, threads=settings.threads)


def _make(
    run: Run, shards: Sequence[Shard], lost: Sequence[str], settings: Settings, say: Say
) -> None:
    """Make shards of images, or import them again."""
    if run.imported is not None and lost:
        say(f"import {run.imported['source']}")
        import_images(run.imported["source"], Declared(), out=run.path, name=run.spec.sampler.name)
    elif shards:
        say(f"generate {len(shards)} shards")
        planned, settings = planned_again(run, settings), computed_as(run, settings)
        opened = open_run(planned, run.path, settings)
        hand_out([(planned, opened, shard) for shard in shards], settings)


def _count_again(run: Run, settings: Settings, say: Say) -> None:
    names = run.shards()
    if names and run.cost() is None:
        say("count what a picture costs")
        shard = shard_of_rows(names[0], run.read("images", names[0], ROWS).to_pylist(), run.layout)
        count_again(planned_again(run, settings), run, shard, settings)


def _lost_shards(run: Run, names: Sequence[str]) -> tuple[list[Shard], list[str]]:
    """The shards of these names as they were planned, and the names of those not known any more.

    Their prompts are those of the file itself, where its own key or that of other files of the run
    confirms them, or of the same slice at another seed.
    """
    good = [name for name in run.shards("images") if name not in set(names)]
    shards, unknown = [], []
    for name in names:
        found = _from_file(run, name) or _from_sibling(run, name, good)
        if found:
            shards.append(found)
        else:
            unknown.append(name)
    return shards, unknown


def _from_file(run: Run, name: str) -> Shard | None:
    path = run.file("images", name)
    held = sealing.salvaged(path, ROWS)
    if held is None or not held.num_rows:
        return None
    shard = shard_of_rows(name, held.to_pylist(), run.layout)
    own = files.metadata(held)
    keys = _keys(run, name)
    if own.get("run") == run.owner.run_id or not run.owner.sealed:
        keys.add(own.get("items"))
    return shard if shard.items_key in keys else None


def _from_sibling(run: Run, name: str, good: Iterable[str]) -> Shard | None:
    seed, index = name.rsplit("-", 2)[1:]
    keys = _keys(run, name)
    for other in good:
        if other.rsplit("-", 1)[1] != index:
            continue
        shard = shard_of_rows(other, run.read("images", other, ROWS).to_pylist(), run.layout)
        block = run.layout.block(int(seed), run.layout.size(shard.first))
        if unprompted(shard.part):
            block = range(int(seed), int(seed) + run.layout.size(int(seed)))
        moved = tuple(block[at - shard.seed] for at in shard.at if at - shard.seed < len(block))
        shard = replace(shard, seed=int(seed), at=moved)
        if shard.items_key in keys or (not keys and len(shard.at) == len(block)):
            return shard
    return None


def _keys(run: Run, name: str) -> set[str | None]:
    """The hash of a shard's items, as files of the run say that were made with it, or of it."""
    found = {_said(run, kind, name).get("items") for kind in kinds_of(run) if kind != "images"}
    return found - {None}


def _said(run: Run, kind: str, name: str) -> dict[str, str]:
    """A shard's metadata; none where it is damaged or foreign."""
    try:
        return run.metadata(kind, name)
    except HarnessError:
        return {}


def _calls(run: Run, kinds: Iterable[str]) -> list[Call]:
    """The metrics whose scores or features these are."""
    calls: Mapping[str, Call] = {}
    for kind in sorted(kinds):
        results, _, label = kind.partition("/")
        call = _scored_by(run, kind, label) if results == "scores" else _metric_of(label)
        if call is None:
            log.warning("%s: no metric has such features: evaluate it again", kind)
        else:
            calls = {**calls, str(call): call}
    return list(calls.values())


def _scored_by(run: Run, kind: str, label: str) -> Call:
    """The metric of scores, as one of their files says, or the name of their folder."""
    for name in run.shards(kind):
        if text := _said(run, kind, name).get("call"):
            return parse_call(text)
    return Call(label, {})


def _metric_of(encoder: str) -> Call | None:
    """A metric, at its own settings, whose features these are."""
    for name in METRICS.names():
        metric = make_metric(name)
        if isinstance(metric, SetMetric) and metric.features.label == encoder:
            return metric.call
    return None
