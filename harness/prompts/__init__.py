"""Prompt sets: where prompts come from and how a file of them is read."""
