"""Tests of a real card, left out where there is none.

`GPU_TESTS_ON=cpu` walks through them on a CPU, where all that they compare is trivially the same.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.gpu.cards import CARD, DEVICE


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            if not CARD and DEVICE != "cpu":
                item.add_marker(pytest.mark.skip(reason="needs an NVIDIA GPU"))


@pytest.fixture(autouse=True)
def _float32_is_float32() -> None:
    """No TF32, whatever ran before: what is compared with a CPU must round as a CPU does."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
