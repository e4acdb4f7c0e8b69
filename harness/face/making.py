"""Make images: runs over prompt sets and seeds, single pictures, runs of images made elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.core.errors import HarnessError, NothingMade
from harness.experiments.inputs import (
    Names,
    Say,
    Seeds,
    Size,
    decoded_in,
    path_of,
    quiet,
    seeds_in_order,
    seeds_of,
    size_of,
)
from harness.fetch.download import without_downloads
from harness.runs.devices import pick_device
from harness.runs.failures import all_failed, failures, lost_first, told
from harness.runs.importing import imported
from harness.runs.manifest import Declared
from harness.runs.ranks import Ranks, parse_part
from harness.runs.tracking import make_tracker
from harness.runs.workers import run_copies
from harness.store.rows import MISSING
from harness.store.run import Run

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image

    from harness.core.shards import Shard
    from harness.engine.batch import Batch
    from harness.runs.forecast import Forecast

log = logging.getLogger(__name__)


def generate(
    sampler: Names,
    *,
    model: str = "shapes",
    guide: str | None = None,
    prompts: str | Path | None = None,
    seeds: Seeds = "0",
    split: str | None = None,
    limit: int | None = None,
    column: str | None = None,
    prompts_folder: str | Path | None = None,
    results: str | Path | None = None,
    out: str | Path | None = None,
    size: Size | None = None,
    dtype: str | None = None,
    decode_dtype: str | None = None,
    noise_key: str | None = None,
    negative: str | None = None,
    device: str | None = None,
    threads: int = 1,
    batch_size: int | str | None = None,
    tf32: bool = False,
    compile: bool = False,
    workers: int | None = None,
    shard: str | None = None,
    track: str | None = None,
    log_folder: str | Path | None = None,
    claim: bool = False,
    dry_run: bool = False,
    say: Say = quiet,
) -> Run | list[Run] | Forecast:
    """Make the images of a sampler over prompts and seeds, as far as they are missing.

    `sampler` is a text such as `zigzag(steps=20)`, or a list of them for one run each; one sampler
    gives its run, a list gives a list. `prompts` is a prompt set by name or a file; `seeds` are
    `"0-3"`, a number or several. Runs lie in `results` (default: `results/<prompt set>`) as
    `<model>/<sampler>-<hash>`, or, of one sampler, in `out`. `size` is in pixels. Under torchrun or
    `accelerate launch` all processes share the work; `workers` starts as many from here, a
    notebook, say. `batch_size` is a number or "auto", by the GPU's memory, the default there; with
    `tf32` a GPU may round float32, with `compile` torch compiles the network; `decode_dtype` is the
    decoder's precision (docs/speed.md). For machines without a common launcher, `shard="i/n"` is
    one part of it; with `claim` each process takes what no other has, and what one that died had.
    `track` is a tracker for progress and the final table: tensorboard, wandb or mlflow.
    `log_folder` is for a log of each process; where there are several, by default `logs` in the
    folder that holds the runs at work. Progress goes to `say`. With `dry_run` nothing is made or
    downloaded: a Forecast says what would be.

    Raises HarnessError for anything that is wrong with the request, before weights are loaded, and
    NothingMade where every picture of a run failed (NaN or blank).
    """
    from harness.engine.noise import check_seeds
    from harness.experiments.image_order import ImageOrder
    from harness.runs.folder import Settings, batch_size_of, missing, open_run
    from harness.runs.plan import Planner
    from harness.runs.work import in_turn, make_work

    texts = [sampler] if isinstance(sampler, str) else list(sampler)
    if not texts:
        raise HarnessError("no sampler is named: see `harness list samplers`")
    chosen = seeds_of(seeds)
    if shard and claim:
        raise HarnessError("--shard is a part that is fixed, --claim any that is free: give one")
    if out and len(texts) > 1:
        raise HarnessError("--out is one run's folder: give one sampler, or --results")
    ranks = Ranks.from_environment(device)
    if workers and ranks.world > 1:
        raise HarnessError(f"--workers: a launcher has started {ranks.world} processes already")
    where = pick_device(device, ranks.local_rank)
    settings = Settings(
        where,
        threads,
        batch_size_of(batch_size),
        workers or 1,
        log_folder=path_of(log_folder),
        tf32=tf32,
        compile=compile,
    )
    with without_downloads() if dry_run else nullcontext():
        planner = Planner(
            decoded_in(model, decode_dtype),
            size=size_of(size),
            dtype=dtype,
            device=where,
            noise_key=noise_key,
            negative=negative,
            guide=guide,
        )
    check_seeds(chosen, planner.noise_key)
    order = ImageOrder(
        planner,
        texts,
        chosen,
        settings,
        prompts=path_of(prompts),
        split=split,
        limit=limit,
        column=column,
        folder=path_of(prompts_folder),
        results=path_of(results),
        out=path_of(out),
        part=parse_part(shard) if shard else (0, 1),
    )
    if dry_run:
        return order.forecast()
    jobs = order.jobs
    runs = [open_run(job, order.place(job), settings) for job in jobs]
    shares = [order.shards(run.layout) for run in runs]
    due = [missing(run, shards) for run, shards in zip(runs, shares, strict=True)]
    each = zip(jobs, runs, shares, strict=True)
    work = in_turn([(job, run, shard) for job, run, shards in each for shard in shards])
    total = sum(shard.count for shards in due for shard in shards)
    tracker = make_tracker(track, settings.log_folder, [run.path for run in runs])
    if ranks.rank == 0:
        order.announce(shares, due, say)

    def make() -> None:
        here = Ranks.from_environment(device)
        where = pick_device(device, here.local_rank)
        make_work(work, replace(settings, device=where, tracker=tracker), here, total, claim)
        if track and here.rank == 0:
            tracker.table("runs", _counts(runs), ["run"])
            tracker.close()

    if workers and workers > 1 and total:
        with lost_first(runs):
            run_copies(make, workers)
    else:
        make()
    if ranks.rank == 0:
        _tell(runs, shares, say)
    return runs[0] if isinstance(sampler, str) else runs


def _tell(runs: Sequence[Run], shares: Sequence[Sequence[Shard]], say: Say) -> None:
    """Say what is complete; NothingMade where every picture of a run failed."""
    from harness.runs.folder import missing

    for run, shards in zip(runs, shares, strict=True):
        run.update_card()
        left = len(missing(run, shards))
        say(f"{run.path}: {len(shards) - left} of {len(shards)} shards complete")
    if failed := [run.path for run in runs if all_failed(run)]:
        raise NothingMade(f"every picture of {', '.join(failed)} failed (see above)")


def _counts(runs: Sequence[Run]) -> pd.DataFrame:
    """A row a run: its images, and how many of them failed."""
    import pandas as pd

    failed = [run.frame("images", ["failed"])["failed"] for run in runs]
    counts = [(len(one), int(one.notna().sum())) for one in failed]
    names = [run.spec.run_id for run in runs]
    rows = [(name, *count) for name, count in zip(names, counts, strict=True)]
    return pd.DataFrame(rows, columns=["run", "images", "failed"])


def sample(
    sampler: str = "ddim",
    *,
    prompt: str | Sequence[str] | None = None,
    class_: int | Sequence[int] | None = None,
    model: str = "shapes",
    guide: str | None = None,
    seed: Seeds | None = None,
    negative: str | Sequence[str] | None = None,
    objects: str | Sequence[str] | None = None,
    size: Size | None = None,
    out: str | Path | None = None,
    noise: str | Path | None = None,
    latents: str | Path | None = None,
    noise_key: str | None = None,
    dtype: str | None = None,
    decode_dtype: str | None = None,
    device: str | None = None,
    threads: int = 1,
    batch_size: int | str | None = None,
    tf32: bool = False,
    compile: bool = False,
    say: Say = quiet,
) -> list[Image]:
    """Draw pictures for prompts (or classes), or replay recorded noise exactly.

    Gives a picture for every seed, in the order named, and prompt, seeds outermost; none where
    `latents` alone is asked for. `out` is a folder for them as PNG. `noise` replays an .npz with
    `noise` [N, C, H, W] and perhaps `draws` [K, N, C, H, W]; `latents` writes final latents, seeds
    and evaluation counts to an .npz. `negative` and `objects` (what AsynDM holds back, "cat, hat")
    are one for all prompts or one each. Raises HarnessError as `generate` does, also for two
    pictures of one prompt and noise, and NothingMade where every picture failed.
    """
    from harness.engine.batch import decoded_pictures
    from harness.runs import single
    from harness.runs.folder import Settings, batch_size_of, check_rounding
    from harness.runs.plan import plan
    from harness.samplers.base import SAMPLERS

    if noise and (seed is not None or noise_key):
        raise HarnessError("--noise replays recorded noise: it goes without --seed and --noise-key")
    folder, latents_file = path_of(out), path_of(latents)
    single.check_outputs(folder, latents_file)
    where = pick_device(device)
    settings = Settings(where, threads, batch_size_of(batch_size), tf32=tf32, compile=compile)
    job = plan(
        decoded_in(model, decode_dtype),
        sampler,
        size=size_of(size),
        dtype=dtype,
        device=where,
        noise_key=noise_key or "seed",
        guide=guide,
    )
    decoded = bool(out or not latents)
    if decoded:
        job.entry.decodable(job.model.params)
    job.entry.revision()
    classes = [class_] if isinstance(class_, int) else list(class_ or [])
    prompts = single.prompts_of(job.entry, _several(prompt), classes)
    recorded = single.read_noise(str(noise)) if noise else None
    rows = None if recorded is None else len(recorded[0])
    if objects and "objects" not in SAMPLERS.get(job.spec.sampler.name).own:
        raise HarnessError(f"--objects is for asyndm; sampler {job.spec.sampler.name} has none")
    chosen = seeds_in_order("0" if seed is None else seed)
    request = single.expand(prompts, _several(negative), chosen, rows, _several(objects))
    if recorded is None:
        single.check_noise(job.spec.noise_key, request)
    check_rounding(job, settings)
    loaded, batch = single.draw(job, request, settings, recorded)
    say(f"{job.spec.sampler}: {job.cost_text} ({_cost(batch)})")
    say(f"  {job.planner.origins(sampler)}")
    if job.remark:
        say(job.remark)
    if latents_file:
        single.save_latents(latents_file, batch, request.seeds if recorded is None else None)
        say(f"latents: {latents_file}")
    if not decoded:
        return []
    pixels = decoded_pictures(loaded, batch)
    pictures = single.as_pictures(pixels)
    if folder:
        for path in single.save_pictures(folder, pictures, request.seeds):
            say(str(path))
    failed = failures(batch.native, pixels)
    if text := told(failed, job.spec):
        if all(failed):
            raise NothingMade(text)
        log.warning("%s", text)
    return pictures


def _several(given: str | Sequence[str] | None) -> list[str]:
    """One, several or no texts as a list."""
    return [given] if isinstance(given, str) else list(given or [])


def _cost(batch: Batch) -> str:
    """An image's evaluations in words: `20 cond, 20 uncond`."""
    return ", ".join(
        f"{counts[0]} {branch if network == 'main' else network}"
        for (network, branch), counts in batch.evaluations.items()
        if counts[0]
    )


def import_images(
    source: str | Path,
    *,
    manifest: str | Path | None = None,
    prompts: str | Path | None = None,
    column: str | None = None,
    image_column: str | None = None,
    paired: bool | None = None,
    name: str | None = None,
    out: str | Path | None = None,
    results: str | Path = "results",
    say: Say = quiet,
) -> Run:
    """Make a run of images made elsewhere, which stay where they are; repeat it after changes.

    `source` is a folder, .zip, .tar, .npz or .parquet. `manifest` is a table with the columns
    `file,prompt` and, if known, `seed`, `nfe`, `category`, whose files are matched by the end of
    their path; `prompts` the prompt set that its prompts are of, or, without a manifest, such a
    table, a prompt set or a file of prompts in the images' order.
    `paired` declares that the images start from the same noise as the other runs' at the same
    prompt and seed; otherwise they are compared with all images of their prompt.
    """
    declared = Declared(path_of(prompts), path_of(manifest), column, image_column, paired)
    run = Run.open(imported(str(source), declared, Ranks(), path_of(out), str(results), name))
    frame = run.frame("images", ["prompt", "failed"])
    prompted = int((frame["prompt"].fillna("").str.strip() != "").sum())
    failed = frame["failed"].dropna()
    missing = int((failed == MISSING).sum())
    broken = f", {len(failed) - missing:,} broken" if len(failed) > missing else ""
    say(
        f"{run.path}: {len(frame):,} images, {prompted:,} with a prompt, "
        f"{missing:,} missing{broken}; {'paired' if run.paired else 'unpaired'}"
    )
    return run


def load_run(path: str | Path) -> Run:
    """The run in a folder (or at a URL); raises HarnessError where there is none.

    `run.images()` and `run.scores()` are DataFrames, one row an image.
    """
    return Run.open(str(path))
