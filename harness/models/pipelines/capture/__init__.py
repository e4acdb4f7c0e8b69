"""Diffusers pipelines of classes that are not written out, learnt from their own first steps."""
