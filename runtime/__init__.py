"""Runs a bundle with ONNX Runtime: sessions, precision, threads, prefill, scoring, runners. Imports `music` only."""
