"""Published checkpoints (`.pkl`, `.pt`), read without executing anything in them."""

from harness.models.edm.checkpoints.checkpoint import Checkpoint, StoredNetwork, read_checkpoint

__all__ = ["Checkpoint", "StoredNetwork", "read_checkpoint"]
