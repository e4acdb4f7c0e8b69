"""Samplers: one file per paper, each a plain function over sigma."""
