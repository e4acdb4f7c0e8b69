"""Text-to-image pipelines of diffusers behind the model contract."""
