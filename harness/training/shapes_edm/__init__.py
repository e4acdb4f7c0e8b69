"""Trains the embedded EDM networks; every part resumes where it stopped."""
