"""The same request, the same tokens: many requests in a crowd, against each of them alone."""
