"""Downloads from the hub and URLs, their cache, and a reader of pickles that executes nothing."""
