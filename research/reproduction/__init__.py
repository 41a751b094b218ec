"""The experiment from which Fantasia began, repeated, with held-out songs added.

`experiment` runs it over a folder of MIDI files and gives a record of totals and curves. `page` makes tables and
figures from the record. The record holds no note of the files.
"""
