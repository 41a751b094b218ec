"""The numbers: slots, sequences, the scheduler, and the runner that executes the graph."""
