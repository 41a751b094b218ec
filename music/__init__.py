"""Scores, tokenizers, MIDI bytes and the bundle format, shared by training and server. Imports nothing else of ours."""
