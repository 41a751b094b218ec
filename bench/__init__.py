"""Benchmarks: what the engine and the service cost, against a bare loop that runs beside them."""
