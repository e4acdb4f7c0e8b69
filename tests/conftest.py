"""What all tests share: one CPU thread (or OMP_NUM_THREADS), no network, and the small models."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HARNESS_ENCODINGS_GB"] = "0"  # nothing is left in the user's cache

import json
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
import torch

from harness.core.libraries import ALIGNMENT
from harness.models.base import Model
from harness.models.load import load
from tests.browser import browser as browser

TINY_SDXL = Path(__file__).parent / "golden" / "zigzag" / "model"


def harness(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command in this process; its exit code."""
    from harness import cli

    monkeypatch.setattr(sys, "argv", ["harness", *arguments])
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def misaligned(*modules: torch.nn.Module) -> list[str]:
    """Names of the parameters and buffers that do not lie where torch allocates memory."""
    named = [m.named_parameters() for m in modules] + [m.named_buffers() for m in modules]
    return [name for pairs in named for name, tensor in pairs if tensor.data_ptr() % ALIGNMENT]


@pytest.fixture(autouse=True, scope="session")
def _threads() -> None:
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture(scope="session")
def tiny_sdxl() -> Model:
    return load(str(TINY_SDXL))


@pytest.fixture(scope="session")
def shapes() -> Model:
    return load("shapes")


@pytest.fixture(scope="session")
def gmm() -> Model:
    return load("gmm")


class Certify(Protocol):
    """Asserts that ours is what a reference code computed, and keeps a record of it."""

    def __call__(
        self,
        what: str,
        ours: Any,
        theirs: Any,
        *,
        atol: float,
        rtol: float = 0.0,
        reference: str | None = None,
    ) -> None: ...


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--certificate", metavar="FILE", help="write worst errors against reference codes here"
    )


@pytest.fixture
def certify(request: pytest.FixtureRequest, _certificate: list[dict[str, Any]]) -> Certify:
    """`certify("zigzag", ours, theirs, atol=1e-4)`: elementwise, and for the certificate.

    What is certified is a sampler by name, `network NAME` or `metric NAME`. `reference` is the
    package that computed `theirs` (its installed version is recorded), or words for another source.
    """

    def check(
        what: str,
        ours: Any,
        theirs: Any,
        *,
        atol: float,
        rtol: float = 0.0,
        reference: str | None = None,
    ) -> None:
        assert reference or not what.startswith("metric "), "name the reference implementation"
        one, other = (np.asarray(array, dtype=np.float64) for array in (ours, theirs))
        np.testing.assert_allclose(one, other, atol=atol, rtol=rtol)
        _certificate.append(
            {
                "what": what,
                "test": request.node.nodeid,
                "worst_error": float(np.abs(one - other).max()),
                "largest_value": float(np.abs(other).max()),
                "atol": float(atol),
                "rtol": float(rtol),
                **({"reference": _with_version(reference)} if reference else {}),
            }
        )

    return check


def _with_version(reference: str) -> str:
    try:
        return f"{reference} {version(reference)}"
    except (PackageNotFoundError, ValueError):
        return reference


@pytest.fixture(scope="session")
def _certificate(request: pytest.FixtureRequest) -> Iterator[list[dict[str, Any]]]:
    found: list[dict[str, Any]] = []
    yield found
    path = request.config.getoption("--certificate")
    if path:
        rows = sorted(found, key=lambda row: (row["what"], row["test"]))
        Path(path).write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")
