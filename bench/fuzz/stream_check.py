"""Checks that the messages of a stream keep what earlier ones promised."""

from collections import Counter

from bench.fuzz.given import Sound
from fantasia.v1 import generation_pb2 as pb


class StreamCheck:
    """Follows the messages of a stream, and checks each against those before it."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.response: pb.GenerateResponse | None = None
        self.tokens: list[bytes] = []
        """Resume tokens, one of each message that has one."""
        self._notes: list[Sound] = []
        self._sounding: set[tuple[int, int, int]] = set()
        self._watermark = 0
        self._count = 0

    def add(self, message: pb.StreamGenerateResponse) -> None:
        """Take the next message."""
        notes = [_sound(note) for note in message.notes]
        sounding = {(note.onset_ticks, note.pitch, note.voice) for note in message.sounding}
        begun = [(note.onset, note.pitch, note.voice) for note in notes]
        fresh = [key for key in (*begun, *sounding) if key not in self._sounding]
        checks = {
            "only the first message has a start": message.HasField("start") == (self._count == 0),
            "a message came after the last one": self.response is None,
            "the watermark falls": message.watermark_ticks >= self._watermark,
            "a note begins before the watermark": all(key[0] >= self._watermark for key in fresh),
            "a note ends before the watermark": all(note.end >= self._watermark for note in notes),
            "notes do not come by their ends": [note.end for note in notes] == sorted(note.end for note in notes),
            "a note stops sounding": self._sounding <= {*begun, *sounding},
        }
        self.problems += [f"message {self._count}: {problem}" for problem, holds in checks.items() if not holds]
        self._notes += notes
        self._sounding = sounding
        self._watermark = message.watermark_ticks
        self._count += 1
        if message.resume_token:
            self.tokens.append(message.resume_token)
        if message.HasField("response"):
            self.response = message.response

    def finish(self) -> None:
        """Check what holds when the stream is over."""
        if self.response is None:
            self.problems.append("the stream ended without its answer")
        elif Counter(map(_sound, self.response.pieces[0].notes)) != Counter(self._notes):
            self.problems.append("the notes of the stream are not those of the piece")


def _sound(note: pb.Note) -> Sound:
    return Sound(note.onset_ticks, note.duration_ticks, note.pitch, note.velocity, note.voice)
