"""Other ways to serve the same weights. Needs PyTorch, LitServe, mosec and httpx."""
