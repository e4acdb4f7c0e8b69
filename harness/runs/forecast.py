"""What making some runs would take: images, evaluations, time and room, and what is missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pandas as pd

from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.core.layout import SMALLEST, Layout
from harness.core.shards import Shard
from harness.fetch.download import without_downloads
from harness.runs.folder import Settings, missing
from harness.runs.plan import PlannedRun
from harness.runs.rates import Recorded, recorded, timed
from harness.runs.repaying import START, repaid
from harness.samplers.base import SAMPLERS
from harness.store.run import Run

_BYTES_A_PIXEL = 1.5  # a photograph as PNG, roughly


Work = Callable[[Layout], Sequence[Shard]]
"""The shards that a run of some layout is to have."""


@dataclass(frozen=True)
class ForeseenRun:
    """A run to be made: `sure` where it is known before, else an estimate of a matched baseline."""

    name: str
    job: PlannedRun
    images: int
    done: int = 0
    sure: bool = True

    @property
    def sampler(self) -> str:
        """The sampler, with its steps and guidance and what is not its own default."""
        call = self.job.spec.sampler
        own = {name: default for name, (_, default) in SAMPLERS.get(call.name).own.items()}
        shown = {
            name: value
            for name, value in call.params.items()
            if name in ("steps", "guidance") or name not in own or own[name] != value
        }
        return str(Call(call.name, shown))

    @property
    def due(self) -> int:
        """Images that are still to be made."""
        return self.images - self.done


def foreseen(
    name: str,
    job: PlannedRun,
    folder: str,
    work: Work | int,
    *,
    sure: bool = True,
) -> ForeseenRun:
    """A run in its folder, with what of its `work` is made already: shards by their layout, or a
    number of images where the prompts are not here."""
    if isinstance(work, int):
        return ForeseenRun(name, job, work, 0, sure)
    held = Run.find(folder, job.spec.run_id)
    shards = work(held.layout if held else Layout.for_pictures(*job.spec.pixels))
    total = sum(shard.count for shard in shards)
    due = total if held is None else sum(one.count for one in missing(held, shards))
    return ForeseenRun(name, job, total, max(0, total - due), sure)


@dataclass(frozen=True)
class Forecast:
    """What a command would do, before anything is made or downloaded.

    `runs` to be made or made already; `seconds` of one device for all that are due, None where no
    rate is known, and `rate` where that comes from; `bytes` of the pictures, and `room` where that
    comes from. `missing` is what is not on this machine; `notes` say what is not known.
    """

    runs: Sequence[ForeseenRun]
    settings: Settings
    seconds: float | None
    rate: str
    bytes: float
    room: str
    missing: Sequence[str] = ()
    notes: Sequence[str] = field(default=())

    @property
    def images(self) -> int:
        """Images that are still to be made, of all runs."""
        return sum(run.due for run in self.runs)

    @property
    def evaluations(self) -> int:
        """Evaluations of the network for them, each of one sample."""
        return sum(run.due * (run.job.nfe or 0) for run in self.runs)

    @property
    def sure(self) -> bool:
        """Whether all runs are known before any is made."""
        return all(run.sure and run.job.nfe is not None for run in self.runs)

    @property
    def table(self) -> pd.DataFrame:
        """A row a run: `run`, `evaluations` an image, `images`, how many are `here`, whether it is
        `estimated`, and its `sampler`."""
        rows = [
            (r.name, r.job.nfe, r.images, r.done, not r.sure, str(r.job.spec.sampler))
            for r in self.runs
        ]
        return pd.DataFrame(
            rows, columns=["run", "evaluations", "images", "here", "estimated", "sampler"]
        )

    @property
    def lines(self) -> list[str]:
        """At most four lines, of 80 columns where what they name is short."""
        done = sum(run.done for run in self.runs)
        held = f"; {done:,} are here" if done else ""
        if not self.images:
            return [f"to make: nothing, all {done:,} images of {_runs(len(self.runs))} are here"]
        about = "" if self.sure else "about "
        count = sum(bool(run.due) for run in self.runs)
        made = f"{about}{self.images:,} images in {_runs(count)}, {self.evaluations:,} evaluations"
        lines = [
            f"to make: {made}{held}",
            f"time: {self._time}{self.rate}",
            f"disk: about {_size(self.bytes)}, {self.room}",
        ]
        if self.missing:
            lines.append(f"missing here: {_listed([one.split(':')[0] for one in self.missing])}")
        return lines

    @property
    def _time(self) -> str:
        if self.seconds is None:
            return ""
        gpu = self.settings.device != "cpu"
        workers = repaid(self.seconds, self.images // SMALLEST, self.settings.workers)
        wall = _duration(self.seconds / workers + (START if workers > 1 else 0.0))
        if not gpu:
            return f"about {wall} with {workers} process{'es' if workers > 1 else ''}, "
        shared = f", {wall} on {workers}" if workers > 1 else ""
        return f"about {self.seconds / 3600:.2g} GPU-hours{shared}, "

    def __str__(self) -> str:
        return "\n".join([*self.lines, *self.missing, *self.notes])


def _listed(names: Sequence[str]) -> str:
    """Names such as `model sdxl`; of several metrics, their number."""
    metrics = [name for name in names if name.startswith("metric ")]
    others = [name for name in names if name not in metrics]
    return ", ".join([*others, *(metrics if len(metrics) < 2 else [f"{len(metrics)} metrics"])])


def _runs(count: int) -> str:
    return f"{count} run{'s' if count != 1 else ''}"


def _duration(seconds: float) -> str:
    if seconds < 99.5:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 5700 else f"{seconds / 3600:.2g} hours"


def _size(count: float) -> str:
    unit = next((unit for unit in ("kB", "MB") if count < 999.5 * _UNITS[unit]), "GB")
    count /= _UNITS[unit]
    return f"{count:.2g} {unit}" if count < 99.5 else f"{count:.0f} {unit}"


_UNITS = {"kB": 1e3, "MB": 1e6, "GB": 1e9}


def forecast(
    runs: Sequence[ForeseenRun],
    settings: Settings,
    results: str,
    *,
    missing: Sequence[str] = (),
    notes: Sequence[str] = (),
    text: str | None = None,
) -> Forecast:
    """What making `runs` takes, at rates that are recorded below `results`.

    With the `text` of a prompt, a model of which none is recorded is loaded and timed, if it is on
    this machine.
    """
    groups: dict[tuple[object, ...], list[ForeseenRun]] = {}
    for run in runs:
        spec = run.job.spec
        groups.setdefault((spec.model, spec.dtype, spec.size), []).append(run)
    found = [_of_model(group, settings, results, text) for group in groups.values()]
    known = [one.seconds for one in found if one.seconds is not None]
    named = {reason.partition(":")[0] for reason in missing}
    lacking = [m for one in found for m in one.missing if m.partition(":")[0] not in named]
    return Forecast(
        runs,
        settings,
        sum(known) if len(known) == len(found) else None,
        _one_of([one.rate for one in found], "each model at its own rate"),
        sum(one.bytes for one in found),
        _one_of([one.room for one in found], "each model's pictures as they are"),
        [*missing, *lacking],
        notes,
    )


def _of_model(
    runs: Sequence[ForeseenRun], settings: Settings, results: str, text: str | None
) -> Forecast:
    """The forecast of runs of one model, precision and size."""
    job, due = runs[0].job, sum(run.due for run in runs)
    known = recorded(results, job, settings.device)
    each, rate, lacking = _rate(job, settings, known, text if due else None)
    counted = [run.due * run.job.nfe for run in runs if run.job.nfe is not None]
    if len(counted) < len(runs):
        each, rate = None, "no rate known: evaluations are counted as it runs"
    seconds = None if each is None else each * sum(counted)
    picture, room = _room(job, known)
    return Forecast(runs, settings, seconds, rate, picture * due, room, lacking)


def _one_of(texts: Sequence[str], several: str) -> str:
    return texts[0] if len(set(texts)) == 1 else several


def _rate(
    job: PlannedRun, settings: Settings, known: Recorded | None, text: str | None
) -> tuple[float | None, str, list[str]]:
    """Seconds an evaluation, where they come from, and what of the model is missing."""
    if known and known.rate is not None:
        runs = _runs(known.runs)
        return known.rate, f"{known.rate:.2g} s an evaluation on {known.device} ({runs})", []
    none = f"no rate known: {job.entry.name} in {job.spec.dtype} has not been timed here yet"
    if text is None:
        return None, none, []
    try:
        with without_downloads():
            each = timed(job, settings, text)
    except HarnessError as error:
        return None, none, [f"model {job.model.name}: {error}"]
    return each, f"{each:.2g} s an evaluation, as timed now", []


def _room(job: PlannedRun, known: Recorded | None) -> tuple[float, str]:
    """Bytes of a picture, and where they come from."""
    height, width = job.spec.pixels
    if known and known.images:
        each = known.bytes / known.images
        return each, f"{_size(each)} an image as recorded"
    each = _BYTES_A_PIXEL * height * width
    return each, f"{_size(each)} an image (an estimate: {_BYTES_A_PIXEL:g} bytes a pixel)"
