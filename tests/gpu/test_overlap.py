"""On a card a batch is decoded while the next one is sampled."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.core.shards import Prompt, plan_shards
from harness.runs import decoding
from harness.runs.decoding import HostLane, Pending
from harness.runs.folder import Settings, open_run
from harness.runs.make import generate
from harness.runs.plan import plan
from harness.store.pictures import decode
from harness.store.run import Run
from tests.gpu.cards import CAPTIONS, CARD, DEVICE
from tests.gpu.test_synchronisation import WAITS

BATCHES, BATCH = 6, 4
PICTURES = [("shapes", "zigzag(steps=4)"), ("shapes-edm", "heun(steps=4, guidance=1)")]


def _made(folder: Path, model: str, sampler: str) -> Run:
    planned = plan(model, sampler, dtype="float32", device=DEVICE)
    settings = Settings(DEVICE, 1, BATCH)
    texts = CAPTIONS if model == "shapes" else ["class 3", "class 10", "class 40"]
    prompts = [Prompt(str(i), text) for i, text in enumerate(texts)]
    run = open_run(planned, str(folder), settings)
    seeds = range(BATCHES * BATCH // len(texts))
    generate(((planned, run, shard) for shard in plan_shards(prompts, seeds)), settings)
    return Run.open(str(folder))


@pytest.mark.parametrize(("model", "sampler"), PICTURES)
def test_pictures_are_those_made_in_order(
    model: str, sampler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = _made(tmp_path / "beside", model, sampler).frame("images")
    monkeypatch.setattr(decoding, "lane_of", lambda model: HostLane())
    in_order = _made(tmp_path / "in-order", model, sampler).frame("images")
    scales = (made["guidance_scale"].tolist() for made in (beside, in_order))
    assert next(scales) == pytest.approx(next(scales), nan_ok=True)
    for one, other in zip(beside["image"], in_order["image"], strict=True):
        a, b = (torch.as_tensor(decode(cell["bytes"])).int() for cell in (one, other))
        # the same batches and kernels; a library may choose by what memory is free
        assert int((a - b).abs().max()) <= 1


@pytest.mark.skipif(not CARD, reason="needs an NVIDIA GPU")
def test_the_next_batch_is_queued_before_the_pictures_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the card is held up, two batches are queued: pictures are waited for after that."""
    log: list[str] = []
    start, wait = decoding.Decoding.start, Pending.wait

    def started(self: decoding.Decoding, *given: object) -> Pending:
        if "start" not in log:
            torch.cuda._sleep(8_000_000_000)  # about four seconds
        log.append("start")
        found = start(self, *given)  # type: ignore[arg-type]
        assert not found.marks[1].query() or len(log) > 2  # type: ignore[attr-defined]
        return found

    def waited(self: Pending) -> None:
        wait(self)
        log.append("there")

    monkeypatch.setattr(decoding.Decoding, "start", started)
    monkeypatch.setattr(Pending, "wait", waited)
    _made(tmp_path / "run", "shapes", "ddim(steps=2)")
    assert log[:2] == ["start", "start"]
    assert log.count("there") == BATCHES


@pytest.mark.skipif(not CARD, reason="needs an NVIDIA GPU")
@pytest.mark.parametrize(("model", "sampler"), PICTURES)
def test_a_run_waits_once_a_batch(model: str, sampler: str, tmp_path: Path) -> None:
    """The difference of two runs, so that loading, warming up and counting are left out."""
    from torch.profiler import ProfilerActivity, profile

    from harness.runs.finishing import Finisher
    from harness.runs.maker import Maker

    planned = plan(model, sampler, dtype="float32", device=DEVICE)
    settings = Settings(DEVICE, 1, BATCH)
    texts = CAPTIONS if model == "shapes" else ["class 3", "class 10", "class 40"]
    (shard,) = plan_shards([Prompt(str(i), text) for i, text in enumerate(texts)], range(8))
    with Finisher(lambda images, failed: None, 1) as finisher:
        maker = Maker(planned, settings.loaded.models(planned, settings), settings, finisher)
        for batch in maker.shard(planned.spec, shard):
            batch.result()
        finisher.settle()
        torch.cuda.synchronize()
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as found:
            made = [batch.result() for batch in maker.shard(planned.spec, shard)]
    counts = {event.key: event.count for event in found.key_averages()}
    # profilers see the threads of their own process; the end of a profile waits once, too
    assert sum(counts.get(name, 0) for name in WAITS) <= len(made) + 1
