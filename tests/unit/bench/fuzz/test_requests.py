import random

from hypothesis import given
from hypothesis import strategies as st

from bench.fuzz.facts import ModelFacts
from bench.fuzz.requests import random_evaluation, random_request
from fantasia.v1 import generation_pb2 as pb

SEEDS = st.integers(0, 10**6)


@given(st.data())
def test_requests_have_fields_that_fit_each_other(data: st.DataObject) -> None:
    seed = data.draw(SEEDS)
    request = random_request(random.Random(seed), [_duet()])

    assert request == random_request(random.Random(seed), [_duet()])
    assert request.HasField("given") or not (request.rewrite or request.omit_given)
    assert not (request.rewrite and request.omit_given)
    assert not request.constraints.natural_ending or request.WhichOneof("length") in ("steps", "bars", "seconds")
    assert request.pieces <= max(request.candidates, 1)
    assert not request.HasField("candidate") or request.candidate < request.candidates
    assert all(0 <= voice < 2 for region in request.rewrite for voice in region.voices)


def test_everything_that_the_contract_has_is_asked_for() -> None:
    requests = [random_request(random.Random(seed), [_duet()]) for seed in range(600)]
    asked = {field.name for request in requests for field, _ in request.ListFields()}
    constraints = {field.name for request in requests for field, _ in request.constraints.ListFields()}

    assert asked == {field.name for field in pb.GenerateRequest.DESCRIPTOR.fields} - {"resume_token"}
    assert constraints == {field.name for field in pb.Constraints.DESCRIPTOR.fields}
    assert {request.given.WhichOneof("piece") for request in requests} == {None, "midi", "notes"}


@given(SEEDS)
def test_evaluations_have_pieces(seed: int) -> None:
    request = random_evaluation(random.Random(seed), [_duet()])

    assert 1 <= len(request.pieces) <= 8
    assert all(piece.WhichOneof("piece") for piece in request.pieces)


def _duet() -> ModelFacts:
    ranges = [pb.VoiceRange(voice=0, lowest=60, highest=80), pb.VoiceRange(voice=1, lowest=40, highest=60)]
    meters = [pb.Meter(numerator=4, denominator=4), pb.Meter(numerator=3, denominator=4)]
    return ModelFacts(pb.Model(name="duet", voices=2, steps_per_quarter=4, meters=meters, ranges=ranges), True)
