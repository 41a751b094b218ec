"""Comparison: networks trained for equal CPU time, among them a plain LSTM and a Transformer."""
