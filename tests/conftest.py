"""What all tests share: one CPU thread, no network, and the small models."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

from pathlib import Path

import pytest
import torch

from harness.models.base import Model
from harness.models.load import load

TINY_SDXL = Path(__file__).parent / "golden" / "zigzag" / "model"


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_sdxl() -> Model:
    return load(str(TINY_SDXL))


@pytest.fixture(scope="session")
def shapes() -> Model:
    return load("shapes")


@pytest.fixture(scope="session")
def gmm() -> Model:
    return load("gmm")
