"""An EDM network of the shapes world's classes: its training."""
