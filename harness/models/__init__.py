"""Diffusion models: each family is adapted once to `denoise(x, sigma)`."""
