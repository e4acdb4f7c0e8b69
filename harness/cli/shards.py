"""`harness make-shards`: how an experiment's worker processes are called, under torchrun."""

from __future__ import annotations

from harness.cli import app, options


@app.command(hidden=True)
def make_shards(
    work: str,
    device: options.Device = None,
    threads: options.Threads = 1,
    batch_size: options.BatchSize = None,
) -> None:
    """Make the shards that a file lists, shared with the other processes."""
    from harness.runs.folder import Settings
    from harness.runs.work import make_work, read_work
    from harness.runs.workers import Ranks, pick_device

    ranks = Ranks.from_environment()
    settings = Settings(pick_device(device, ranks.local_rank), threads, batch_size)
    make_work(read_work(work), settings, ranks)
