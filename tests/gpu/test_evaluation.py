"""Evaluation on a card: it never waits inside a batch, and once for a batch's results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from harness.evaluation import evaluate
from harness.evaluation.readback import Readback, stacked
from harness.metrics.base import ItemMetric, ItemRow, make_metric, make_metrics
from tests.evaluation.test_evaluate import make_run
from tests.gpu.cards import CARD, DEVICE
from tests.gpu.test_metrics import IMAGES, KINDS, files, images, suited
from tests.gpu.test_synchronisation import WAITS, forbidden
from tests.metrics.test_clip import weights as clip_weights
from tests.metrics.test_never_reads import READS
from tests.metrics.test_pickscore import folder as pickscore_folder

__all__ = ["clip_weights", "files", "images", "pickscore_folder"]

pytestmark = pytest.mark.skipif(not CARD, reason="needs an NVIDIA GPU")


@pytest.mark.parametrize("name", [name for name in KINDS if name not in READS])
def test_no_metric_waits(
    name: str, files: Path, clip_weights: Path, pickscore_folder: Path, images: torch.Tensor
) -> None:
    images, texts = suited(name, images)
    text = KINDS[name].format(name=name, files=files, clip=clip_weights, pickscore=pickscore_folder)
    metric = make_metric(text)
    metric.load(DEVICE)
    readback, pictures = Readback(), [image.numpy() for image in images]

    def compute() -> object:
        pinned = stacked(pictures, DEVICE)
        if not isinstance(metric, ItemMetric):
            return readback.copy(metric.features.encode(pinned))
        return readback.copy(metric.score(pinned, [ItemRow(text) for text in texts]))

    with torch.inference_mode():
        if isinstance(metric, ItemMetric):
            metric.prepare(list(dict.fromkeys(texts)))
        compute()  # constants go to the card, kernels are loaded
        with forbidden():
            found = compute()
    readback.wait()
    assert isinstance(found, torch.Tensor)
    assert len(found) == IMAGES
    assert bool(np.isfinite(found.numpy()).all())


def test_a_batch_waits_once_at_most(tmp_path: Path, files: Path, clip_weights: Path) -> None:
    from torch.profiler import ProfilerActivity, profile

    names = ("clip", "fid", "fid-clean", "hpsv2", "contrast")
    texts = [KINDS[name].format(name=name, files=files, clip=clip_weights) for name in names]
    made = make_metrics(texts)
    evaluate(make_run(tmp_path / "warm"), made, device=DEVICE)  # the same prompts
    run = make_run(tmp_path / "timed")
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as found:
        evaluate(run, made, device=DEVICE)
    counts = {event.key: event.count for event in found.key_averages()}
    assert 0 < sum(counts.get(name, 0) for name in WAITS) <= len(run.shards("images"))


def test_a_run_has_the_scores_of_a_cpu(tmp_path: Path, clip_weights: Path) -> None:
    """Late results go to their own images, over batches and shards."""
    texts = [KINDS["clip"].format(name="clip", clip=clip_weights), "contrast", "saturation"]
    values = []
    for device in ("cpu", DEVICE):
        run, made = make_run(tmp_path / device), make_metrics(texts)
        evaluate(run, made, device=device, batch_size=3)
        values.append(np.stack([run.frame(f"scores/{each.label}").value for each in made]))
    assert np.allclose(*values, rtol=1e-4, atol=1e-6)
