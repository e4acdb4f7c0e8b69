"""Runs to make, comparisons between them, and what decides: benchmarks, surveys, tunings."""
