"""What samplers change or read inside a network, by forward hooks alone."""
