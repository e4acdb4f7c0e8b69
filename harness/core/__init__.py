"""The base layer: errors, registry, typed calls, run specs, shards and shared types."""
