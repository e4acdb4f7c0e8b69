"""Measured properties of samplers: guidance scale, independence of a batch, arithmetic."""
