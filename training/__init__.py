"""Training, offline: scores to a corpus, corpus to tokens, LSTM, ONNX bundle; evaluation and model cards."""
