"""The determinism soak: the same request gives the same tokens, whatever else runs."""
