"""Guidance policies: how a network's branches become one output, a file each."""
