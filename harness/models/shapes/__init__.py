"""The embedded miniature Stable Diffusion of the shapes world."""
