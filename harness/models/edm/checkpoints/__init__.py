"""Published checkpoints (`.pkl`, `.pt`), read without executing anything in them."""

from harness.models.edm.checkpoints.checkpoint import Checkpoint, Network, read_checkpoint

__all__ = ["Checkpoint", "Network", "read_checkpoint"]
