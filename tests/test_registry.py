from __future__ import annotations

import pytest

from harness.errors import HarnessError, unknown
from harness.models.base import MODELS
from harness.registry import Registry
from harness.samplers.base import SAMPLERS


def test_modules_of_the_package_register_themselves() -> None:
    assert {"ddim", "heun", "dpmpp_2m", "zigzag"} <= set(SAMPLERS.names())
    assert {"shapes", "gmm", "sd15", "sd21", "sdxl", "dreamshaper-xl"} <= set(MODELS.names())


def test_an_unknown_name_names_the_closest() -> None:
    with pytest.raises(HarnessError, match="unknown sampler 'zigzg': did you mean 'zigzag'"):
        SAMPLERS.get("zigzg")
    assert "known: a, b" in str(unknown("thing", "quite else", ["b", "a"]))


def test_a_name_is_registered_once() -> None:
    registry: Registry[int] = Registry("thing", "harness.samplers")
    registry.add("a", 1)
    with pytest.raises(HarnessError, match="twice"):
        registry.add("a", 2)
