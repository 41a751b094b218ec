"""The contract's stubs, generated from the `.proto` files beside them by `make proto`."""
