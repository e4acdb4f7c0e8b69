"""Saturation and contrast of pictures whose values are known."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch
from PIL import Image

from harness.metrics.base import ItemMetric, make_metric


def score(name: str, images: torch.Tensor) -> list[float]:
    metric = make_metric(name)
    assert isinstance(metric, ItemMetric)
    return list(metric.score(images, []))  # type: ignore[arg-type]


def plain(*colour: int) -> torch.Tensor:
    return torch.tensor(colour, dtype=torch.uint8)[None, :, None, None].expand(1, 3, 4, 6)


@pytest.mark.parametrize(
    ("colour", "expected"),
    [((0, 0, 0), 0), ((90, 90, 90), 0), ((255, 0, 0), 1), ((200, 100, 150), 0.5), ((1, 0, 0), 1)],
)
def test_saturation_of_plain_colours(colour: tuple[int, ...], expected: float) -> None:
    assert score("saturation", plain(*colour)) == pytest.approx([expected])
    assert score("contrast", plain(*colour)) == pytest.approx([0])


def test_saturation_is_that_of_hsv_and_contrast_the_deviation_of_luma() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (3, 3, 5, 7), dtype=torch.uint8, generator=generator)
    for image, saturation, contrast in zip(
        images, score("saturation", images), score("contrast", images), strict=True
    ):
        pixels = image.permute(1, 2, 0).reshape(-1, 3).numpy()
        assert saturation == pytest.approx(
            np.mean([colorsys.rgb_to_hsv(*(p / 255))[1] for p in pixels])
        )
        luma = np.asarray(Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L")) / 255
        assert contrast == pytest.approx(luma.std(), abs=0.002)  # PIL rounds to 8 bits


def test_half_black_half_white_has_the_greatest_contrast() -> None:
    image = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    image[..., :2] = 255
    assert score("contrast", image) == pytest.approx([0.5])
