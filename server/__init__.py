"""The online service: engine, rpc, metrics, and the app that joins them."""
