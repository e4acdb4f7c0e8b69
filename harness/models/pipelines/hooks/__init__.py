"""Forward hooks by which samplers change or record activations of a network."""
