"""A reader of pickles that executes nothing in them."""
