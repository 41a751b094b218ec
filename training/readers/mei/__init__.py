"""Scores in MEI, through music21; callers use `read_mei`."""

from training.readers.mei.score import read_mei

__all__ = ["read_mei"]
