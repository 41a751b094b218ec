"""What a request says of every piece that answers it."""

from dataclasses import dataclass
from itertools import pairwise

from bench.fuzz.bars import Bars
from bench.fuzz.facts import ModelFacts
from bench.fuzz.given import Given, Sound
from fantasia.v1 import generation_pb2 as pb


@dataclass(frozen=True, slots=True)
class Frame:
    """What a request says of every piece. Ticks count from the start of the given piece, if there is one."""

    request: pb.GenerateRequest
    model: ModelFacts
    given: Given | None
    given_length: int
    """On the grid; 0 if nothing is given."""
    bars: Bars
    regions: tuple[tuple[int, int, frozenset[int]], ...]
    """First tick, end and voices, on the grid."""

    @classmethod
    def of(cls, request: pb.GenerateRequest, given: Given | None, model: ModelFacts) -> "Frame":
        """The frame of a valid request."""
        step = model.step_ticks
        length = 0 if given is None else -(-given.length // step) * step
        bars = given.bars if given else Bars(model.meters[0])
        if request.HasField("meter"):
            bars = Bars((request.meter.numerator, request.meter.denominator), bars.pickup)
        regions = []
        for region in request.rewrite:
            assert given is not None
            start, end = 0, length
            if region.WhichOneof("span") == "bars":
                start, end = bars.start(region.bars.first), bars.start(region.bars.last + 1)
            elif region.WhichOneof("span") == "ticks":
                start, end = region.ticks.start, region.ticks.end
            on_grid = [min(round(tick / step) * step, length) for tick in (start, end)]
            regions.append((on_grid[0], on_grid[1], frozenset(region.voices or range(model.voices))))
        return cls(request, model, given, length, bars, tuple(regions))

    def in_region(self, tick: int, voice: int) -> bool:
        """Whether notes of the voice that begin at the tick are written anew."""
        return any(start <= tick < end and voice in voices for start, end, voices in self.regions)

    def is_written(self, tick: int, voice: int) -> bool:
        """Whether a note of the voice may be written at the tick."""
        return voice < self.model.voices and (tick >= self.given_length or self.in_region(tick, voice))

    @property
    def is_on_grid(self) -> bool:
        """Whether nothing given is off the grid or in a voice that the model does not have."""
        step = self.model.step_ticks
        notes = () if self.given is None else self.given.notes
        by_voice: dict[int, list[Sound]] = {}
        for note in sorted(notes):
            by_voice.setdefault(note.voice, []).append(note)
        overlap = any(a.end > b.onset for voice in by_voice.values() for a, b in pairwise(voice))
        return not overlap and all(
            note.onset % step == 0 == note.duration % step
            and note.voice < self.model.voices
            and self.model.ranges[note.voice][0] <= note.pitch <= self.model.ranges[note.voice][1]
            for note in notes
        )
