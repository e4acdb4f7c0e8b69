"""Benchmark and evaluation harness for diffusion samplers."""

__version__ = "0.1.0"
