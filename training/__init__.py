"""Offline: corpus to tokens to LSTM to ONNX bundle."""
