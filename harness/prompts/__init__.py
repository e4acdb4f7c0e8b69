"""Prompt sets: registered benchmarks, and readers of users' prompt files."""
