"""Reads the notes and meters of a returned MIDI file with mido, which shares no code with the server."""

import io
from collections import Counter

import mido

from bench.fuzz.facts import TICKS_PER_QUARTER
from fantasia.v1 import generation_pb2 as pb


def midi_problems(piece: pb.Piece) -> list[str]:
    """How the MIDI file of a piece differs from its notes, by onset, pitch and velocity, and from its meters."""
    try:
        file = mido.MidiFile(file=io.BytesIO(piece.midi))
    except (OSError, EOFError, ValueError, KeyError, IndexError) as error:
        return [f"mido does not read the MIDI file: {error!r}"]
    if file.type != 1 or file.ticks_per_beat != TICKS_PER_QUARTER:
        return [f"the MIDI file has format {file.type} and {file.ticks_per_beat} ticks"]
    found: Counter[tuple[int, int, int]] = Counter()
    signatures: set[tuple[int, int, int]] = set()
    for track in file.tracks:
        tick = 0
        for message in track:
            tick += message.time
            if message.type == "note_on" and message.velocity:
                found[tick, message.note, message.velocity] += 1
            elif message.type == "time_signature" and tick >= piece.pickup_ticks:
                signatures.add((tick, message.numerator, message.denominator))
    wanted = Counter((note.onset_ticks, note.pitch, note.velocity) for note in piece.notes)
    if found != wanted:
        return [
            f"the MIDI file has other notes: {list((found - wanted).elements())[:3]} instead of "
            f"{list((wanted - found).elements())[:3]}"
        ]
    meters = [(change.tick, change.meter) for change in piece.meter_changes]
    meters += [(piece.pickup_ticks, piece.meter)] if piece.HasField("meter") else []
    if signatures != {(tick, meter.numerator, meter.denominator) for tick, meter in meters}:
        return [f"the MIDI file has the time signatures {sorted(signatures)}"]
    return []
