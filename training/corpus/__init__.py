"""From score files to a corpus on disk: sources, parallel reading, dedup, splits, the array file."""
