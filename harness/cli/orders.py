"""A benchmark with what a command line changes in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.experiments.bench import Order


def make_order(
    benchmark: str | None,
    model: str | None,
    tiny: bool,
    *,
    sampler: str | None = None,
    baseline: str | None = None,
    guide: str | None,
    seeds: str | None,
    prompts: str | None,
    metrics: str | None,
    split: str | None,
    limit: int | None,
    size: str | None,
    device: str | None,
    threads: int,
    batch_size: int | None,
    workers: int | None,
    dtype: str | None,
    curve: str = "auto",
    **others: Any,
) -> Order:
    """What is given replaces what the benchmark says; the default benchmark is the model's own.

    `others` are further fields of Order.
    """
    from harness.cli.options import weights
    from harness.core.call import split_list
    from harness.core.run_spec import parse_size
    from harness.experiments import benchmark as benchmarks
    from harness.experiments.bench import Order
    from harness.prompts.split import with_split
    from harness.runs.folder import Settings
    from harness.runs.workers import default_workers, pick_device

    name = benchmark or benchmarks.for_model(model or "shapes").name
    found = benchmarks.load(name, tiny)
    where = pick_device(device)
    chosen = prompts or found.prompts
    return Order(
        benchmark=found,
        model=model or found.model,
        sampler=sampler or found.candidate or found.candidates[0].sampler,
        baseline=baseline or found.baseline,
        guide=guide or found.guide,
        seeds=seeds or found.seeds,
        prompts=with_split(chosen, split) if split else chosen,
        limit=limit if limit or prompts else found.limit,
        metrics=split_list(metrics) if metrics else found.metrics,
        size=parse_size(size) if size else None,
        device=device,
        settings=Settings(where, threads, batch_size),
        workers=workers or default_workers(device),
        dtype=dtype or found.dtype,
        curve=found.curve if curve == "auto" else weights(curve),
        **others,
    )


def notes() -> Callable[[str], None]:
    """Says what happens on the way, on standard error."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    return lambda text: console.print(text, markup=False)
