"""What a GPU found of a batch, read when the next batch is under way."""

from __future__ import annotations

from typing import Any


class Readback:
    """Copies of one batch's results on their way to the host, and the one wait for all of them."""

    def __init__(self) -> None:
        self._copied: Any = None

    @property
    def pending(self) -> bool:
        """Whether something is on its way."""
        return self._copied is not None

    def copy(self, found: Any) -> Any:
        """`found`, or the copy on the host of a device's tensor, which holds it after `wait`."""
        import torch

        if not isinstance(found, torch.Tensor) or found.device.type == "cpu":
            return found
        if found.device.type != "cuda":
            return found.cpu()
        host = torch.empty(found.shape, dtype=found.dtype, pin_memory=True)
        host.copy_(found, non_blocking=True)
        self._copied = torch.cuda.Event()
        self._copied.record(torch.cuda.current_stream(found.device))
        return host

    def wait(self) -> None:
        """Return when everything that was copied is there."""
        if self._copied is not None:
            self._copied.synchronize()
