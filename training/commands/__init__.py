"""The commands of `python -m training`, a module each.

Each imports what it needs when it runs: `evaluate` works where neither torch nor music21 is installed.
"""
