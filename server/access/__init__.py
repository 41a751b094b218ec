"""Who may call, and how much: certificates, callers, limits. `server.rpc`, `server.metrics` and `server.app` use it."""
