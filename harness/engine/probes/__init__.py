"""What a sampler amounts to, found by running it: guidance scale, independence, arithmetic."""
