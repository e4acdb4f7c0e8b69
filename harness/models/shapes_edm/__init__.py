"""The embedded EDM networks of the shapes world's classes."""
