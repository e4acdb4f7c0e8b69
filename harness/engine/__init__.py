"""A model, a sampler and a guidance policy at work on one batch of images."""
