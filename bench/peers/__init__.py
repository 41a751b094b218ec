"""Other ways to serve the same weights: what people write by hand, and what serving frameworks offer."""
