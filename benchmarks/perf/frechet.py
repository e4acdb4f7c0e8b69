"""The Frechet distance at 2048 features: ours against clean-fid's formula, in one run on this CPU.

python benchmarks/perf/frechet.py [FEATURES]
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np

from harness.metrics.frechet import frechet_distance
from harness.metrics.set_statistics import Moments, Reference


def moments(rng: np.random.Generator, width: int) -> Moments:
    """Of features whose scales fall off as an encoder's do."""
    return Moments.of(rng.normal(size=(3 * width, width)) * np.geomspace(1, 1e-3, width))


def timed(work: Callable[[], float]) -> tuple[float, float]:
    start = time.perf_counter()
    value = work()
    return value, time.perf_counter() - start


def main(width: int) -> None:
    from cleanfid.fid import frechet_distance as theirs

    warnings.simplefilter("ignore")  # scipy's, of an argument that clean-fid still names
    rng = np.random.default_rng(0)
    one, other = moments(rng, width), moments(rng, width)
    pair = (one.mean, one.covariance, other.mean, other.covariance)
    reference = Reference(other.mean, other.covariance, other.n, {})
    first, cold = timed(lambda: frechet_distance(one.mean, one.covariance, reference))
    _, warm = timed(lambda: frechet_distance(one.mean, one.covariance, reference))
    expected, slow = timed(lambda: float(theirs(*pair)))
    print(f"Frechet distance in {width} features, seconds (relative difference of the value)")
    print(f"{'clean-fid':<34}{slow:>9.2f}")
    print(f"{'ours, first use of a reference':<34}{cold:>9.2f}{slow / cold:>8.1f}x", end="")
    print(f"   ({abs(first / expected - 1):.1e})")
    print(f"{'ours, from then on':<34}{warm:>9.2f}{slow / warm:>8.1f}x")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2048)
