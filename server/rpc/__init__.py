"""The wire: gRPC handlers, validation and the translation of errors."""
