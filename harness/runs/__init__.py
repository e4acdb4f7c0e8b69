"""Runs: planned, made, imported; single pictures; the processes that make them."""
