"""Functions that run a diffusers pipeline by themselves: called, counted, and tried out."""
