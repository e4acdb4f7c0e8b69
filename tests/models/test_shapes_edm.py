"""Training of the embedded EDM networks: data, loss, and the files it writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from harness.core.call import parse_call
from harness.engine.ensemble import Ensemble
from harness.engine.noise import NoiseStreams
from harness.engine.resolve import resolve
from harness.models.base import MODELS
from harness.models.edm.entries import safetensors_entry
from harness.models.load import load
from harness.training.shapes_edm import export_networks as export
from harness.training.shapes_edm import train_networks as network
from harness.world.grammar import parse
from harness.world.judge import grades, load_judge
from harness.world.single_objects import class_caption


def test_a_step_has_its_own_data_whatever_came_before() -> None:
    first = network.batch(3)
    network.batch(4)
    for one, again in zip(first, network.batch(3), strict=True):
        assert torch.equal(one, again)
    assert not torch.equal(first[0], network.batch(4)[0])
    assert first[0].shape == (16, 3, 32, 32)
    assert first[0].abs().max() <= 1


def test_some_labels_are_left_out() -> None:
    labels = torch.cat([network.batch(step)[3] for step in range(40)])
    assert set(labels.sum(1).tolist()) == {0, 1}
    assert float((labels.sum(1) == 0).float().mean()) == pytest.approx(0.15, abs=0.05)


def test_noise_levels_are_those_of_the_paper() -> None:
    logs = torch.cat([network.batch(step)[2].log().flatten() for step in range(40)])
    assert float(logs.mean()) == pytest.approx(-1.2, abs=0.15)
    assert float(logs.std()) == pytest.approx(1.2, abs=0.12)


def test_the_loss_weighs_the_error_of_the_denoised_picture() -> None:
    pixels, noise, sigma, labels = network.batch(0)

    class Known(torch.nn.Module):
        def __init__(self, error: float) -> None:
            super().__init__()
            self.error = error

        def forward(
            self, x: torch.Tensor, level: torch.Tensor, labels: torch.Tensor
        ) -> torch.Tensor:
            return pixels + self.error

    assert float(network.loss_of(Known(0.0), pixels, noise, sigma, labels).max()) == 0
    got = network.loss_of(Known(0.1), pixels, noise, sigma, labels)
    level = sigma.flatten()
    np.testing.assert_allclose(got, 0.01 * (1 / level**2 + 1 / 0.25), rtol=1e-4)


def test_the_unconditional_network_equals_the_other_without_labels() -> None:
    torch.manual_seed(0)
    net, free = network.make(), network.make(0)
    for weights in net.parameters():
        torch.nn.init.normal_(weights, std=0.2)
    free.load_state_dict(network.unconditional(net.state_dict()))
    x, sigma = torch.randn(2, 3, 32, 32), torch.tensor([0.3, 2.0])
    with torch.no_grad():
        expected = net(x, sigma, torch.zeros(2, 48))
        torch.testing.assert_close(free(x, sigma), expected, atol=1e-5, rtol=1e-5)
        assert (net(x, sigma, torch.eye(48)[:2]) - expected).abs().max() > 0.01


def test_weights_ship_in_half_precision(tmp_path: Path) -> None:
    size = export.export(network.make().state_dict(), 7, tmp_path)
    assert size == sum(file.stat().st_size for file in tmp_path.glob("*.safetensors"))
    assert size < export.LIMIT
    for name, classes in (("cond", 48), ("uncond", 0)):
        entry = safetensors_entry(tmp_path / f"{name}.safetensors")
        assert (entry.classes, entry.size) == (classes, (32, 32))


def test_what_ships_is_small_and_of_the_scripts_architecture() -> None:
    entry, partner = MODELS.get("shapes-edm"), MODELS.get("shapes-edm-uncond")
    assert (entry.classes, partner.classes, entry.size) == (48, 0, (32, 32))
    files = list(export.TARGET.glob("*.safetensors"))
    assert len(files) == 2
    assert sum(file.stat().st_size for file in files) < export.LIMIT
    for name, classes in (("shapes-edm", 48), ("shapes-edm-uncond", 0)):
        network.make(classes).load_state_dict(load(name).net.state_dict())  # type: ignore[attr-defined]


def exact(sampler: str, classes: range) -> float:
    """Share of pictures, one a class, that the judge finds to show their class."""
    model, guide = load("shapes-edm"), load("shapes-edm-uncond")
    noise = NoiseStreams(list(classes), (3, 32, 32), dtype=torch.float64)
    prompts = [f"class {index}" for index in classes]
    call = resolve(parse_call(sampler), {"guidance": 1.0})
    batch = Ensemble(model, guide).run(call, prompts, [None] * len(prompts), noise)
    seen = load_judge().look(model.decode(batch.native))
    verdicts = grades(seen, [parse(class_caption(index)) for index in classes])
    return float(np.mean([right for _, right in verdicts]))


def test_pictures_show_their_class() -> None:
    assert exact("heun(steps=6, guidance=2)", range(24)) > 0.5
