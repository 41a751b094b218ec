"""Online: the engine, the wire and what joins them."""
