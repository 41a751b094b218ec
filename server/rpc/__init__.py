"""The gRPC service: handlers, interceptors, validation, and the statuses of errors."""
