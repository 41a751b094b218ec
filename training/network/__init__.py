"""The PyTorch network: its layers, optimizer, learning rate schedule and weight average."""
