"""Files from elsewhere: the hub, URLs, the cache, and pickles that are read without executing."""
