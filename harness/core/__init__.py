"""What everything else stands on: errors, registry, calls, run specs, shards, shared types."""
