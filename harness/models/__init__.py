"""Models: each family adapted once to `denoise(x, sigma)`."""
