"""The commands of `python -m training`, one module each.

A command imports what it needs only when it runs, so `evaluate` works without torch and music21.
"""
