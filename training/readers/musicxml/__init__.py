"""Scores in MusicXML; callers use `read_musicxml`."""

from training.readers.musicxml.score import read_musicxml

__all__ = ["read_musicxml"]
