"""Pictures that failed: which, why, and what helps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch

from harness.core.errors import HarnessError
from harness.core.run_spec import RunSpec
from harness.store.run import Run

_NOT_FINITE, _BLANK = "not finite", "blank"
_CAUSES = {
    (_NOT_FINITE, True): "float16 overflows in some networks: try --dtype bfloat16 or float32",
    (_NOT_FINITE, False): "the sampler diverges: try less guidance or more steps",
    (_BLANK, True): "the decoder overflows in float16: try --dtype bfloat16 or float32",
    (_BLANK, False): "each is of one colour: try less guidance or more steps",
}
"""By reason, and whether the network computes in float16."""


def failures(native: torch.Tensor, pixels: torch.Tensor) -> list[str | None]:
    """Why each picture cannot be scored: its latents are not finite, or it is of one colour."""
    return reasons(native.flatten(1).isfinite().all(1), pixels)


def reasons(finite: torch.Tensor, pixels: torch.Tensor) -> list[str | None]:
    """The same of latents that are known to be `finite` [B] or not."""
    blank = (pixels == pixels[:, :, :1, :1]).flatten(1).all(1).tolist()
    return [
        _NOT_FINITE if not good else _BLANK if empty else None
        for good, empty in zip(finite.tolist(), blank, strict=True)
    ]


def told(failed: Sequence[str | None], spec: RunSpec) -> str | None:
    """A sentence on the failed of some pictures, with the likely cause; None if all are good."""
    counts = Counter(reason for reason in failed if reason)
    if not counts:
        return None
    (worst, _), *_ = counts.most_common(1)
    held = ", ".join(f"{count} {reason}" for reason, count in counts.items())
    cause = _CAUSES[worst, spec.dtype == "float16"]
    return f"{counts.total()} of {len(failed)} pictures of {spec.sampler} failed ({held}): {cause}"


@contextmanager
def lost_first(runs: Iterable[Run]) -> Iterator[None]:
    """Where work fails in other processes, which say no more than that: raise NothingMade where it
    is as a folder was lost, else the error."""
    try:
        yield
    except HarnessError:
        for run in runs:
            run.owner.check()
        raise


def all_failed(run: Run) -> bool:
    """Whether a run holds pictures, and none is good; reads no further than the first good one."""
    names = run.shards()
    return bool(names) and all(
        run.read("images", name, ["failed"])["failed"].null_count == 0 for name in names
    )
