"""Text-to-image pipelines of diffusers, adapted to the model contract."""
