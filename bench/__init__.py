"""Benchmarks: bare loop, engine, service, peers, load, determinism soak. Nothing imports this package."""
