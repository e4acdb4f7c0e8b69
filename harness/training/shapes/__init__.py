"""Trains the embedded model and the judge; every part resumes where it stopped."""
