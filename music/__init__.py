"""The language both sides speak: notes, tokenizers, MIDI bytes and the bundle format."""
