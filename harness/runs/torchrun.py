"""torchrun as `harness bench --workers` runs it: where it stops it says why in a line."""

from __future__ import annotations

import sys

from harness.runs.status import say
from harness.runs.workers import first_failure


def main() -> None:
    """`python -m harness.runs.torchrun` with the options of torchrun."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    try:
        torchrun()
    except ChildFailedError as error:
        say(f"harness: {first_failure(error)}")
        sys.exit(1)
    except SignalException as error:
        sys.exit(128 + error.sigval)


if __name__ == "__main__":
    main()
