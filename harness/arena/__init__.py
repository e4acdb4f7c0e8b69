"""Pairs of images of two runs, shown blind to a person, who votes: see `harness arena`."""

from harness.arena.ballot import Ballot
from harness.arena.server import Arena

__all__ = ["Arena", "Ballot"]
