"""The fuzzers: random requests, mutated MIDI files and random cancellations against a real server."""
