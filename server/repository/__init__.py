"""The model repository: finds, loads and unloads versions of models. Only `server.app` starts it."""
