"""Data files are found in a checkout and in an installed package."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core import data
from harness.core.errors import HarnessError


def test_the_installed_package_comes_first_then_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed, checkout = tmp_path / "installed", tmp_path / "checkout"
    monkeypatch.setattr(data, "_ROOTS", (installed, checkout))
    for root, name in ((checkout, "a.npz"), (checkout, "b.npz"), (installed, "b.npz")):
        (root / "refs").mkdir(parents=True, exist_ok=True)
        (root / "refs" / name).touch()
    assert data.data_path("refs/a.npz") == checkout / "refs" / "a.npz"
    assert data.data_path("refs/b.npz") == installed / "refs" / "b.npz"
    with pytest.raises(HarnessError, match=r"refs/c\.npz is missing: looked in"):
        data.data_path("refs/c.npz")


def test_the_roots_are_those_of_this_package() -> None:
    assert data._ROOTS[0].name == "_data"
    assert (data._ROOTS[1] / "harness" / "core" / "data.py").exists()
