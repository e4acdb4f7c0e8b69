"""Opening a run's folder for a planned run, and the settings and versions it is made with."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from harness import __version__
from harness.core.errors import HarnessError
from harness.core.registry import code_digest
from harness.core.shards import Shard
from harness.engine.resolve import source_of
from harness.fetch.fingerprints import sampled_form
from harness.models.pipelines.loading_options import PLACEMENT
from harness.runs.compilable import check_compilable
from harness.runs.crew import Crew
from harness.runs.devices import default_workers, pick_device
from harness.runs.kept_model import Loaded
from harness.runs.plan import PlannedRun, registered_here, unscaled
from harness.runs.tracking import NO_TRACKER, Tracker
from harness.store import files
from harness.store.resuming import ROUNDING
from harness.store.run import AS_SAMPLED, MODEL_AT, NO_GUIDANCE, Run


@dataclass(frozen=True)
class Settings:
    """How a run is computed: nothing here changes a picture beyond rounding.

    `batch_size` is None where it is to be found: on a GPU by its memory (runs/batch_size.py),
    elsewhere the model's own. At most `workers` processes share the work of an experiment, on the
    device `asked` by the user, or where that is None each on a device of its own: those of `crew`.
    `log_folder` is for their logs, None the usual one. `tf32` lets a GPU round float32; `compile`
    lets torch compile the network. `loaded` keeps the model of this process.
    """

    device: str = "cpu"
    threads: int = 1
    batch_size: int | None = None
    workers: int = 1
    asked: str | None = None
    log_folder: str | None = None
    tf32: bool = False
    compile: bool = False
    tracker: Tracker = field(default=NO_TRACKER, compare=False, repr=False)
    loaded: Loaded = field(default_factory=Loaded, compare=False, repr=False)
    crew: Crew = field(default_factory=Crew, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("threads", "batch_size", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise HarnessError(f"{name} {value}: at least 1 is needed")
        if self.tf32 and torch.device(self.device).type != "cuda":
            raise HarnessError(
                f"--tf32 lets an NVIDIA GPU round float32, but the device is {self.device}: leave "
                "it out"
            )

    @classmethod
    def chosen(
        cls,
        device: str | None,
        threads: int,
        batch_size: int | str | None,
        workers: int | None,
        **more: Any,
    ) -> Settings:
        """Settings as typed; None is a GPU if there is any, and a process for each GPU or core."""
        count = default_workers(device) if workers is None else workers
        return cls(pick_device(device), threads, batch_size_of(batch_size), count, device, **more)

    def shared(self) -> dict[str, Any]:
        """What further processes of the same work are told, as JSON; each picks a device itself."""
        own = ("device", "workers", "tracker", "loaded", "crew")
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name not in own}


def batch_size_of(given: int | str | None) -> int | None:
    """A batch size as typed, a number; None for `auto`, and where none is given."""
    if given is None or given == "auto":
        return None
    if isinstance(given, bool) or not str(given).isdecimal() or not int(given):
        raise HarnessError(f"batch_size {given}: at least 1 is needed, or auto")
    return int(given)


def open_run(job: PlannedRun, folder: str, settings: Settings) -> Run:
    """Open the run in `folder`, created if it is new; refuses the folder of another run."""
    job.entry.decodable(job.model.params)
    check_rounding(job, settings)
    resolved = {
        "revision": "",
        "device": torch.device(settings.device).type,
        "threads": settings.threads,
        **_revisions(job, folder),
        **{f"code of {name}": code_digest(code) for name, code in registered_here(job).items()},
    }
    source, made_with = source_of(job.spec.sampler), environment() | _read_from(job)
    if reason := unscaled(job):
        made_with[NO_GUIDANCE] = reason
    placed = {name: job.model.params.get(name) for name in PLACEMENT}
    made_with |= {f"model {name}": str(value) for name, value in placed.items() if value}
    made_with |= {name: "yes" for name in ROUNDING if getattr(settings, name)}
    if job.remark:
        made_with[AS_SAMPLED] = job.remark
    if source:
        made_with["sampler file"] = source.path
    run = Run.create(folder, job.spec, resolved, made_with)
    if source:
        run.keep(Path(source.path).name, source.text)
    return run


def check_rounding(job: PlannedRun, settings: Settings) -> None:
    """Raise HarnessError for settings that have no meaning for a run."""
    if settings.tf32 and job.spec.dtype == "float64":
        raise HarnessError("--tf32 rounds float32, and the run is in float64: leave one out")
    if settings.compile:
        check_compilable(job)


def _revisions(job: PlannedRun, folder: str) -> dict[str, str]:
    """The revision of each model; one that the folder's record holds in an earlier version's form
    in that form, if it is the same."""
    now = _asked(job)
    if not files.exists(files.join(folder, "run.json")):
        return now
    recorded = Run.open(folder).record["resolved"]
    if all(recorded.get(key) == value for key, value in now.items()):
        return now
    with sampled_form():
        before = _asked(job)
    return {k: before[k] if recorded.get(k) == before[k] else value for k, value in now.items()}


def _asked(job: PlannedRun) -> dict[str, str]:
    others = {f"revision of {name}": revision() for name, revision in job.others.items()}
    return {"revision": job.entry.revision(), **others}


def _read_from(job: PlannedRun) -> dict[str, str]:
    """The folder or hub id of a model that is no registered name, to load the same again."""
    typed = job.model.name
    if typed == job.entry.name:
        return {}
    path = Path(typed).expanduser()
    return {MODEL_AT: str(path.resolve()) if path.exists() else typed}


def missing(run: Run, shards: Iterable[Shard]) -> list[Shard]:
    """The shards to be made so that the run holds these; see `Run.lacking`."""
    return [due for shard in shards if (due := run.lacking(shard)) is not None]


def environment() -> dict[str, str]:
    """Versions of what makes the pictures, and the checkout's commit where there is one."""
    versions = {"harness": __version__, "python": platform.python_version()}
    versions |= {name: version(name) for name in ("torch", "diffusers", "transformers", "numpy")}
    root = Path(__file__).resolve().parents[2]
    if (root / ".git").exists():
        command = ["git", "-C", str(root), "rev-parse", "--short=12", "HEAD"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        versions["commit"] = done.stdout.strip() or "unknown"
    return versions
