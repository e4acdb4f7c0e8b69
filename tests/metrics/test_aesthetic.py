"""The aesthetic score is the published head on the unit image vector, in one pass with clip."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from harness.core.errors import HarnessError
from harness.metrics.aesthetic import HEAD, Aesthetic
from harness.metrics.base import ItemMetric, make_metric, make_metrics
from harness.metrics.encoders import ItemRow
from harness.metrics.linear_head import LinearHead
from harness.metrics.open_clip_encoder import OpenClip
from tests.conftest import Certify
from tests.metrics.test_clip import NAME, weights

__all__ = ["weights"]


def head(width: int) -> nn.Module:
    """The published predictor: a Sequential of linear layers and dropout."""
    sizes = [width, 1024, 128, 64, 16, 1]
    parts: list[nn.Module] = []
    for at, (inside, outside) in enumerate(itertools.pairwise(sizes)):
        parts.append(nn.Linear(inside, outside))
        parts += [nn.Dropout(0.2)] if at < 3 else []
    model = nn.Module()
    model.layers = nn.Sequential(*parts)
    return model.eval()


def saved(path: Path, width: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = head(width)
    torch.save(model.state_dict(), path)
    return model


@pytest.mark.golden
def test_score_is_the_published_head_on_unit_features(
    weights: Path, tmp_path: Path, certify: Certify
) -> None:
    model = saved(tmp_path / "head.pth", 24)
    text = f"aesthetic(head={tmp_path}/head.pth, model={NAME}, pretrained={weights})"
    ours = make_metric(text)
    assert isinstance(ours, ItemMetric)
    ours.check()
    ours.load("cpu")
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4, 3, 40, 33), dtype=torch.uint8, generator=generator)
    encoder = OpenClip(NAME, str(weights))
    encoder.load("cpu")
    with torch.inference_mode():
        found = ours.values(images, [ItemRow("")] * 4)
        theirs = model.layers(encoder.encode(images))[:, 0]
    what = "torch.nn: the published predictor's layers"
    certify("metric aesthetic", found, theirs.numpy(), atol=1e-6, reference=what)
    assert float(theirs.std()) > 1e-5


def test_it_shares_the_network_with_clip(weights: Path, tmp_path: Path) -> None:
    saved(tmp_path / "head.pth", 24)
    which = f"model={NAME}, pretrained={weights}"
    clip, own = make_metrics([f"clip({which})", f"aesthetic(head={tmp_path}/head.pth, {which})"])
    assert clip.encoder is own.encoder
    assert make_metric("clip").encoder == make_metric("aesthetic").encoder


def test_another_head_is_refused(weights: Path, tmp_path: Path) -> None:
    saved(tmp_path / "wide.pth", 768)
    wrong = Aesthetic(str(tmp_path / "wide.pth"), NAME, str(weights))
    with pytest.raises(HarnessError, match=r"wide\.pth does not hold the head's layers\.0 of 24"):
        wrong.load("cpu")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(HarnessError, match=r"text\.pth does not load as the aesthetic"):
        Aesthetic(str(tmp_path / "text.pth"), NAME, str(weights)).load("cpu")
    with pytest.raises(HarnessError, match=r"there is no file /nowhere\.pth"):
        Aesthetic("/nowhere.pth", NAME, str(weights)).check()


def test_the_head_is_part_of_the_identity(weights: Path, tmp_path: Path) -> None:
    for name, seed in (("a.pth", 0), ("b.pth", 1)):
        torch.save({"x": torch.full((1,), seed)}, tmp_path / name)
    one, other = (Aesthetic(str(tmp_path / n), NAME, str(weights)) for n in ("a.pth", "b.pth"))
    assert one.weights() != other.weights()


def test_where_the_head_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    assert HEAD.path == tmp_path / "metrics" / "sac+logos+ava1-l14-linearMSE.pth"


def test_linear_layers_are_applied_in_order() -> None:
    model = head(5)
    x = torch.linspace(-1, 1, 10).reshape(2, 5)
    ours = LinearHead(model.state_dict(), 5, "here")
    with torch.inference_mode():
        np.testing.assert_allclose(ours(x), model.layers(x)[:, 0], atol=1e-7)
