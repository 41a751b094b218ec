import pytest

from bench.fuzz.facts import ModelFacts
from fantasia.v1 import generation_pb2 as pb


@pytest.fixture
def duet() -> ModelFacts:
    """A model of two voices on a grid of 16ths."""
    return ModelFacts(
        pb.Model(
            name="duet",
            digest="d" * 64,
            precision="int8",
            voices=2,
            steps_per_quarter=4,
            max_steps=64,
            meters=[pb.Meter(numerator=4, denominator=4), pb.Meter(numerator=3, denominator=4)],
            default_tempo_bpm=100.0,
            ranges=[pb.VoiceRange(voice=0, lowest=60, highest=80), pb.VoiceRange(voice=1, lowest=40, highest=60)],
            limits=pb.Limits(max_candidates=64),
        ),
        is_default=True,
    )
