"""The experiment that Fantasia began as, done again: what it measured, and what it did not ask.

`experiment` runs it all over a folder of MIDI files and leaves a `results.json` of totals, from which `page` and
`figures` make what the documentation shows. No note of the files is among the results.
"""
