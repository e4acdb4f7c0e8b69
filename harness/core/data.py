"""Paths of the data files that ship with the package: `refs/` and `benchmarks/`."""

from __future__ import annotations

from pathlib import Path

from harness.core.errors import HarnessError

_PACKAGE = Path(__file__).resolve().parents[1]
_ROOTS = (_PACKAGE / "_data", _PACKAGE.parent)  # an installed wheel, a checkout


def data_path(relative: str) -> Path:
    """The file or folder `relative`, for example `refs/shapes-judge.npz`.

    Raises HarnessError if neither the installed package nor the checkout holds it.
    """
    for root in _ROOTS:
        if (root / relative).exists():
            return root / relative
    raise HarnessError(
        f"{relative} is missing: looked in {' and '.join(str(root) for root in _ROOTS)}. "
        "Install the package again, or work in a complete checkout"
    )
