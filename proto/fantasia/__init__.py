"""Contract of Fantasia's gRPC service: `fantasia.v1` holds the stubs that `make proto` generates."""

__version__ = "0.1.0"
"""Version of the server, the client and these stubs, which are released together.

`tests/e2e/test_distribution.py` names the files that repeat it.
"""
