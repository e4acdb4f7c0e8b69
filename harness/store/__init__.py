"""Data on disk: Arrow schemas, files that exist only if complete, and the run folder."""
